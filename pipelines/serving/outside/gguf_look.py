"""A GGUF file as llama.cpp serves it.

`python gguf_look.py REQUEST ANSWER`, in the environment `gguf`. REQUEST is a JSON file `{"gguf", "context", "threads",
"texts": [text], "conversations": [messages], "prompts": [[id]], "likeliest", "stops": [id], "tokens"}`. ANSWER is
`{"ids": [[id]] of the texts, "opened": [[id]] of them with what the tokenizer adds, "chats": [{"text", "ids"} or
{"refused"}], "said": [[{"id": logprob} after every prompt token] by prompt], "stopped": [bool], "tokens_per_second",
"memory_bytes", "vocabulary", "context", "facts"}`, or `{"refused"}` where llama.cpp does not load the file.
"""

import json
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import xllamacpp  # type: ignore[import-not-found]

_FACTS = (
    "general.architecture", "general.name", "general.license", "general.file_type", "general.quantization_version",
    "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id", "tokenizer.ggml.padding_token_id", "tokenizer.ggml.add_bos_token",
    "tokenizer.chat_template",
)  # fmt: skip
_FORCED = 1e4
_SECONDS = 600


class Server:
    """llama.cpp's HTTP server in this process, behind a random key."""

    def __init__(self, file: str, context: int, threads: int) -> None:
        key = secrets.token_hex(16)
        wanted = xllamacpp.CommonParams()
        wanted.model.path = file
        wanted.n_ctx, wanted.n_parallel, wanted.n_gpu_layers = context, 1, 0
        wanted.warmup, wanted.verbosity = False, 0
        wanted.hostnames, wanted.port, wanted.api_keys = ["127.0.0.1"], 0, [key]
        wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = threads
        self._server = xllamacpp.Server(wanted)
        self._address = self._server.listening_address
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, self._headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


def main(request: Path, answer: Path) -> None:
    """Load and ask; a file that llama.cpp does not load is told of in its words."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    try:
        server = Server(asked["gguf"], asked["context"], asked["threads"])
    except RuntimeError as error:
        told: dict[str, Any] = {"refused": str(error)}
    else:
        told = look(server, asked)
    answer.write_text(json.dumps(told), encoding="utf-8")


def look(server: Server, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Speed first, as long as nothing is cached."""
    model = server.ask("/v1/models")["data"][0]["meta"]
    speed = generated(server, asked["prompts"][0], asked["tokens"])
    return {
        "tokens_per_second": speed,
        "memory_bytes": model["size"],
        "vocabulary": model["n_vocab"],
        "context": model["n_ctx_train"],
        "ids": [tokens(server, text, False) for text in asked["texts"]],
        "opened": [tokens(server, text, True) for text in asked["texts"]],
        "chats": [chat(server, messages) for messages in asked["conversations"]],
        "said": [said(server, prompt, asked["likeliest"]) for prompt in asked["prompts"]],
        "stopped": [stops(server, asked["prompts"][0], stop) for stop in asked["stops"]],
        "facts": facts(asked["gguf"]),
    }


def generated(server: Server, prompt: list[int], count: int) -> float:
    """Tokens a second of one answer of `count` tokens."""
    body = {"prompt": prompt, "n_predict": count, "ignore_eos": True, "temperature": 0}
    return float(server.ask("/completion", body)["timings"]["predicted_per_second"])


def tokens(server: Server, text: str, opened: bool) -> list[int]:
    body = {"content": text, "add_special": opened, "parse_special": True}
    return [int(token) for token in server.ask("/tokenize", body)["tokens"]]


def chat(server: Server, messages: list[dict[str, str]]) -> dict[str, Any]:
    """The conversation in the file's template, and the tokens that a request for an answer is made of."""
    try:
        text = server.ask("/apply-template", {"messages": messages})["prompt"]
    except urllib.error.HTTPError as error:
        return {"refused": error.read().decode(errors="replace")}
    return {"text": text, "ids": tokens(server, text, True)}


def said(server: Server, prompt: list[int], likeliest: int) -> list[dict[str, float]]:
    """Natural logs of the probabilities of the likeliest next tokens, after every token of the prompt.

    The prompt's first token is what is said each time: the server tells nothing of a token that ends inside of a
    character. Probabilities are told as they were before.
    """
    body = {"n_predict": 1, "n_probs": likeliest, "temperature": 0, "logit_bias": [[prompt[0], _FORCED]]}
    rows = []
    for end in range(1, len(prompt) + 1):
        row = server.ask("/completion", body | {"prompt": prompt[:end]})["completion_probabilities"][0]["top_logprobs"]
        rows.append({str(item["id"]): item["logprob"] for item in row})
    return rows


def stops(server: Server, prompt: list[int], stop: int) -> bool:
    """Whether an answer ends where the model says `stop`: it is made to say it at once."""
    body = {"prompt": prompt, "n_predict": 3, "temperature": 0, "logit_bias": [[stop, _FORCED]]}
    answer = server.ask("/completion", body)
    return bool(answer["stop_type"] == "eos" and answer["tokens_predicted"] == 1)


def facts(file: str) -> dict[str, Any]:
    """What the file says of itself, under the names that llama.cpp reads; keys that it lacks are left out."""
    fields = gguf.GGUFReader(file).fields
    return {name: fields[name].contents() for name in _FACTS if name in fields}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
