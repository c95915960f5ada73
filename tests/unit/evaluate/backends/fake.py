"""An OpenAI-compatible server in a thread: a model folder through transformers, and mistakes on demand."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from pipelines.hf.models import load_model, load_tokenizer


class Fake(ThreadingHTTPServer):
    """`replies` are answered first, each once, as (status, headers, body); the other attributes are mistakes.

    `extended` says whether it knows vLLM's extensions of the protocol, `seen` is every request that it got. `poison` is
    what becomes of a log-probability that is none: a NaN, a null, or an answer that is refused.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.words = load_model(folder), load_tokenizer(folder)
        self.served, self.context, self.extended = "tuned", 512, True
        self.replies: list[tuple[int, dict[str, str], str]] = []
        self.key, self.bos, self.scoring, self.poison, self.shift = "", False, True, "", 0
        self.strict, self.delays = False, [0.0]
        self.seen: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self._planned():
            return
        card = {"id": self.server.served, "object": "model", "owned_by": "fake"}
        known = {
            "/v1/models": {"data": [card | {"max_model_len": self.server.context}]},
            "/version": {"version": "1.2.3"},
        }
        self._answer(200 if self.path in known else 404, known.get(self.path, {"detail": "Not Found"}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._planned():
            return
        with self.server.lock:
            number = len(self.server.seen)
            self.server.seen.append(body)
            status, answer = _complete(self.server, body)
        time.sleep(self.server.delays[number % len(self.server.delays)])
        self._answer(status, answer)

    def _planned(self) -> bool:
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            told = f"no such key: {self.headers.get('Authorization')}"
            self._answer(401, {"error": {"message": told}})
            return True
        if self.server.replies:
            status, headers, text = self.server.replies.pop(0)
            self._answer(status, text, headers)
            return True
        return False

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _complete(server: Fake, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    extensions = {"return_tokens_as_token_ids", "return_token_ids"} & body.keys()
    if extensions and server.strict:
        return 400, {"error": {"message": f"unknown argument {sorted(extensions)[0]}"}}
    prompt = [server.words.bos_token_id, *body["prompt"]] if server.bos else list(body["prompt"])
    if len(prompt) + body["max_tokens"] > server.context:
        return 400, {"error": {"message": f"this model's maximum context length is {server.context} tokens"}}
    if server.poison == "refused" and body.get("logprobs"):
        return 400, {"error": {"message": "Out of range float values are not JSON compliant"}}
    made, reason = _generate(server, prompt, body["max_tokens"], body.get("stop") or [])
    text = server.words.decode([token + server.shift for token in made], skip_special_tokens=True)
    choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
    if body.get("logprobs") and server.scoring and not body.get("echo"):
        choice["logprobs"] = {"token_logprobs": [float("nan")] if server.poison else [-1.0]}
    if body.get("echo") and server.scoring:
        choice["text"] = server.words.decode([token + server.shift for token in prompt]) + text
        choice["logprobs"] = _logprobs(server, prompt + made, server.extended and bool(extensions))
    if server.extended and body.get("return_token_ids"):
        choice["token_ids"] = made
    return 200, {"choices": [choice], "usage": {"prompt_tokens": len(prompt)}}


@torch.inference_mode()
def _generate(server: Fake, prompt: list[int], most: int, stop: list[str]) -> tuple[list[int], str]:
    made: list[int] = []
    while len(made) < most:
        made.append(int(server.model(torch.tensor([prompt + made])).logits[0, -1].argmax()))
        text = server.words.decode(made, skip_special_tokens=True)
        if made[-1] == server.words.eos_token_id or any(word in text for word in stop):
            return made, "stop"
    return made, "length"


@torch.inference_mode()
def _logprobs(server: Fake, tokens: list[int], named: bool) -> dict[str, Any]:
    rows = server.model(torch.tensor([tokens])).logits[0].float().log_softmax(-1)[:-1]
    names = [f"token_id:{token}" if named else server.words.decode([token]) for token in tokens]
    own = [row[token].item() for row, token in zip(rows, tokens[1:], strict=True)]
    best = [row.max(0) for row in rows]
    if server.poison:
        own[-2] = None if server.poison == "null" else float("nan")
    top = [
        {f"token_id:{int(place)}" if named else "best": value.item(), name: mine}
        for (value, place), name, mine in zip(best, names[1:], own, strict=True)
    ]
    return {"tokens": names, "token_logprobs": [None, *own], "top_logprobs": [None, *top]}


@contextmanager
def running(folder: Path) -> Iterator[Fake]:
    with Fake(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
