"""What a test finds in place of vLLM: the modules that `vllm_servers.py` imports, and a server with the same flags.

argv: -I and the script with its arguments, which then runs with these modules, or -I -m and the module of the server.
The server starts a child that would live for long, and adds both process ids, its arguments and its environment to the
file that STUB_TELLS names. Asked for log-probabilities it tells those in STUB_LOGPROBS; any other request ends it.
STUB_SAYS is added to its log.
"""

import json
import os
import runpy
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace

STUBBED = {
    "torch": {"cuda": SimpleNamespace(is_initialized=lambda: "STUB_CUDA" in os.environ)},
    "vllm": {},
    "vllm.envs": {"environment_variables": {}},
    "vllm.v1": {},
    "vllm.v1.engine": {},
    "vllm.v1.engine.async_llm": {},
    "vllm.v1.engine.core": {},
    "vllm.v1.worker": {},
    "vllm.v1.worker.cpu_worker": {},
    "vllm.v1.worker.cpu_model_runner": {},
    "vllm.entrypoints": {},
    "vllm.entrypoints.launchers": {},
    "vllm.entrypoints.launchers.api_server": {"entry": SimpleNamespace(main=lambda: serve(sys.argv[1:]))},
    "vllm.model_executor": {},
    "vllm.model_executor.models": {"registry": SimpleNamespace()},
    "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: True)},
}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        known = {"/health": None, "/v1/models": {"data": [{"id": "model", "owned_by": "vllm", "max_model_len": 512}]}}
        key = f"Bearer {os.environ['VLLM_API_KEY']}"
        self.say(200 if self.path == "/health" or self.headers.get("Authorization") == key else 401, known[self.path])

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("max_tokens") == 32:
            self.say(200, {"usage": {"completion_tokens": 32 * len(asked["prompt"])}})
        elif "max_tokens" not in asked or "echo" in asked:
            sys.stderr.write("(EngineCore pid=7) ERROR: ValueError: the head is too small\n")
            sys.stderr.write("RuntimeError: Engine core initialization failed. See root cause above.\n")
            sys.stderr.flush()
            os._exit(1)
        else:
            self.say(*json.loads(os.environ.get("STUB_LOGPROBS", "[200, {}]")))

    def say(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def serve(arguments):
    child = subprocess.Popen(["sleep", "600"])
    told = {"pids": [os.getpid(), child.pid], "arguments": arguments, "environment": dict(os.environ)}
    with Path(os.environ["STUB_TELLS"]).open("a") as file:
        file.write(json.dumps(told) + "\n")
    if "--crash" in arguments:
        sys.exit("usage: api_server.py\napi_server.py: error: unrecognized arguments: --crash")
    sys.stderr.write("vllm says hello\n" + os.environ.get("STUB_SAYS", ""))
    sys.stderr.flush()
    HTTPServer(("127.0.0.1", int(arguments[arguments.index("--port") + 1])), Handler).serve_forever()


def main():
    if sys.argv[2] == "-m":
        serve(sys.argv[4:])
    if "STUB_BROKEN" in os.environ:
        sys.exit("ImportError: libcudart.so.12: cannot open shared object file")
    for name, holds in STUBBED.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(holds)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, sys.modules[name])
    sys.executable = os.environ["STUB_PYTHON"]
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")


main()
