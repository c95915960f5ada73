"""What a test finds in place of vLLM: a server that has the same flags and answers three paths, or a crash.

argv: -I -m vllm.entrypoints.openai.api_server and the arguments. It starts a child that would live for long, and writes
both process ids, its arguments and its environment to the file that STUB_TELLS names.
"""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ARGUMENTS = sys.argv[4:]
KEY = f"Bearer {os.environ['VLLM_API_KEY']}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        known = {"/health": None, "/v1/models": {"data": [{"id": "model", "owned_by": "vllm", "max_model_len": 512}]}}
        allowed = self.path == "/health" or self.headers.get("Authorization") == KEY
        data = json.dumps(known.get(self.path)).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        sys.stderr.write("(EngineCore pid=7) ERROR: ValueError: the head is too small\n")
        sys.stderr.write("RuntimeError: Engine core initialization failed. See root cause above.\n")
        os._exit(1)


def main():
    child = subprocess.Popen(["sleep", "600"])
    told = {"pids": [os.getpid(), child.pid], "arguments": ARGUMENTS, "environment": dict(os.environ)}
    Path(os.environ["STUB_TELLS"]).write_text(json.dumps(told))
    if "--crash" in ARGUMENTS:
        sys.exit("usage: api_server.py\napi_server.py: error: unrecognized arguments: --crash")
    sys.stderr.write("vllm says hello\n")
    HTTPServer(("127.0.0.1", int(ARGUMENTS[ARGUMENTS.index("--port") + 1])), Handler).serve_forever()


main()
