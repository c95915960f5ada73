"""Model folders as transformers 4 sees them.

    python -P transformers4.py REQUEST ANSWER

REQUEST is a JSON file `{"questions": [text], "day": [year, month, day], "folders": [{"folder": path, "prompts":
[[id]]}], "out": path}`. ANSWER gets `{"folders": [facts or {"problem": text}]}`; the folder `out` gets
`0.safetensors` and so on, the logits of each folder's prompts in float32, named 0, 1 and so on.
"""

import datetime
import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_REPORTS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def main(request: Path, answer: Path) -> None:
    """Look at every folder; one that cannot be loaded says why and does not keep the others from being looked at."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    logging.disable_progress_bar()
    day = datetime.date(*asked["day"])
    answers = []
    for at, item in enumerate(asked["folders"]):
        try:
            answers.append(look(item, asked["questions"], day, Path(asked["out"]) / f"{at}.safetensors"))
        except Exception as error:  # whatever transformers raises for a folder is what is to be told of it
            answers.append({"problem": " ".join(f"{type(error).__name__}: {error}".split())})
        gc.collect()
    answer.write_text(json.dumps({"folders": answers}), encoding="utf-8")


@torch.inference_mode()
def look(item: dict[str, Any], questions: list[str], day: datetime.date, logits: Path) -> dict[str, Any]:
    """Facts of one folder, as the process of `serving/look/child.py` has them; its logits go to a file."""
    words = AutoTokenizer.from_pretrained(item["folder"], **_LOCAL)
    model, report = AutoModelForCausalLM.from_pretrained(
        item["folder"], dtype="auto", use_safetensors=True, output_loading_info=True, **_LOCAL
    )
    rows = [model.eval()(input_ids=torch.tensor([prompt])).logits[0].float() for prompt in item["prompts"]]
    save_file({f"{at}": row.contiguous() for at, row in enumerate(rows)}, logits)
    return {
        "prompts": [ids(words, question, day) for question in questions],
        "plain": [list(words(question)["input_ids"]) for question in questions],
        "template": words.chat_template,
        "tokenizer": type(words).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "architecture": type(model).__name__,
        "tied": bool(model.config.get_text_config().tie_word_embeddings),
        "odd": [f"{name}: {key}" for name in _REPORTS for key in sorted(map(str, report[name]))],
    }


def ids(words: Any, question: str, day: datetime.date) -> list[int]:
    """The question in the chat template, where there is one; templates that ask for today's date are told `day`."""
    if not words.chat_template:
        return list(words(question)["input_ids"])
    turn = [{"role": "user", "content": question}]
    text = words.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, strftime_now=day.strftime)
    return list(words(text, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
