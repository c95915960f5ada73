"""A folder as a stranger sees it: loaded in a process that knows nothing but its path."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from pipelines.errors import UserError
from pipelines.hf.folder import id_list, require_sound
from pipelines.hf.models import load_model, load_tokenizer
from pipelines.hf.stops import turn_end
from pipelines.serving.look.parity import aligned, logits, plain_ids, prompt_ids

_STEPS = 3


def main(folder: Path, out: Path) -> None:
    """Load, ask, and write down what came out in `answer.json` and `logits.safetensors`.

    What is wrong with the folder is written down too.
    """
    try:
        answer = look(folder, out)
    except UserError as error:
        answer = {"problems": [list(problem) for problem in error.problems]}
    (out / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def look(folder: Path, out: Path) -> dict[str, Any]:
    """What the folder is and does. UserError where it cannot be loaded whole."""
    require_sound(folder)
    tokenizer, model = load_tokenizer(folder), aligned(load_model(folder))
    prompts = prompt_ids(tokenizer)
    rows = {f"{at}": row.contiguous() for at, row in enumerate(logits(model, prompts))}
    save_file(rows, out / "logits.safetensors")
    stop = turn_end(tokenizer)
    stop = tokenizer.eos_token_id if stop is None else stop
    return {
        "prompts": prompts,
        "plain": plain_ids(tokenizer),
        "template": tokenizer.chat_template,
        "dtype": str(model.dtype).removeprefix("torch."),
        "architecture": type(model).__name__,
        "tied": bool(model.config.get_text_config().tie_word_embeddings),
        "stop": stop,
        "stops": stop is not None and stops(model, prompts[0], stop),
    }


def stops(model: PreTrainedModel, prompt: list[int], stop: int) -> bool:
    """Whether generation ends when the model says `stop`: it is made to say so in the third step, and not before."""

    ending = id_list(model.generation_config.eos_token_id)
    filler = next(token for token in range(len(ending) + 1) if token not in ending)

    def force(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        last = ids.shape[1] == len(prompt) + _STEPS - 1
        forced[:, stop if last else filler] = 0.0
        return forced

    ids = torch.tensor([prompt], device=model.device)
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=4 * _STEPS,
        do_sample=False,
        logits_processor=[force],
    )
    return int(written.shape[1]) == len(prompt) + _STEPS
