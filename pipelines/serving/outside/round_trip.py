"""One use of an OpenAI server with the `openai` package, as an application has it.

Reads {"url", "names"} as JSON from standard input and writes what it saw to standard output; the key is in
OPENAI_API_KEY.
"""

import json
import sys
from typing import Any
from urllib.request import ProxyHandler, build_opener

import openai

_QUESTION = "Say hello."
_TOKENS = 64
_NO_TEMPLATE = "chat template"


def main() -> dict[str, Any]:
    asked = json.load(sys.stdin)
    client = openai.OpenAI(base_url=asked["url"], max_retries=0, timeout=600)
    return {
        "models": sorted(model.id for model in client.models.list()),
        "chat": {name: chat(client, name) for name in asked["names"]},
        "completion": {name: completion(client, name) for name in asked["names"]},
        "metrics": metrics(asked["url"].removesuffix("/v1")),
    }


def chat(client: openai.OpenAI, name: str) -> dict[str, Any] | None:
    """An answer in the model's template; None where it has none."""
    messages = [{"role": "user", "content": _QUESTION}]
    try:
        answer = client.chat.completions.create(model=name, messages=messages, max_tokens=_TOKENS, temperature=0)
    except openai.BadRequestError as error:
        if _NO_TEMPLATE in str(error):
            return None
        raise
    choice = answer.choices[0]
    return _seen(choice.message.content, choice.finish_reason, answer.usage)


def completion(client: openai.OpenAI, name: str) -> dict[str, Any]:
    answer = client.completions.create(model=name, prompt=_QUESTION, max_tokens=4, temperature=0)
    choice = answer.choices[0]
    return _seen(choice.text, choice.finish_reason, answer.usage)


def _seen(text: str | None, reason: str | None, usage: Any) -> dict[str, Any]:
    return {"text": text or "", "finish_reason": reason, "tokens": usage.completion_tokens}


def metrics(url: str) -> list[str]:
    """The names of vLLM's own metrics, without labels."""
    with build_opener(ProxyHandler({})).open(f"{url}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sorted({line.partition("{")[0].partition(" ")[0] for line in lines if line.startswith("vllm:")})


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
