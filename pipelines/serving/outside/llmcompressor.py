"""A model folder in fewer bits, made by llm-compressor.

    python -P llmcompressor.py REQUEST ANSWER

REQUEST is a JSON file: `folder` and `out`; `recipe`, the modifiers in their order as [name, arguments]; `dtype` of what
is not quantised; `rows` of token ids, none for a recipe that looks at no data; `seed`. `out` gets config.json and the
weights. ANSWER gets `{"layers": quantised modules, "columns": the longest row of a quantised weight}`, or
`{"problem": text}`. Progress is told on standard output, a JSON list `[done, total]` a line. Run with -P: without it
this file would hide the package that it is named for.
"""

import json
import os
import random
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from llmcompressor import oneshot
from llmcompressor.core import LifecycleCallbacks
from llmcompressor.modeling.moe.conversion_mappings import set_save_conversion_mapping
from llmcompressor.modeling.moe.linearize import get_linearized_moes, linearize_moe
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from llmcompressor.pipelines.sequential import pipeline as sequential
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM
from transformers.core_model_loading import WeightConverter, WeightRenaming

MODIFIERS = {"AWQModifier": AWQModifier, "GPTQModifier": GPTQModifier, "QuantizationModifier": QuantizationModifier}
_SHARD = "5GB"
_THREADS = 4
"""Sums in half precision are split by the number of threads: with one for all machines they make the same bytes."""


def main(request: Path, answer: Path) -> None:
    """Quantise; whatever went wrong is written down in one line, and told whole on standard error."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    try:
        said = quantise(asked)
    except Exception as error:
        traceback.print_exc()
        cause = first_cause(error)
        said = {"problem": " ".join(f"{type(cause).__name__}: {cause}".split())}
    answer.write_text(json.dumps(said), encoding="utf-8")


def quantise(asked: dict[str, Any]) -> dict[str, Any]:
    """Load, apply the recipe, save compressed."""
    torch.set_num_threads(_THREADS)
    random.seed(asked["seed"])
    torch.manual_seed(asked["seed"])
    torch.use_deterministic_algorithms(True, warn_only=True)
    if not torch.accelerator.is_available():
        # There is no pinned memory without an accelerator; AWQ asks for it all the same.
        IntermediatesCache.pin_memory = lambda *_, **__: None
    model = AutoModelForCausalLM.from_pretrained(
        asked["folder"], dtype=getattr(torch, asked["dtype"]), local_files_only=True, trust_remote_code=False
    )
    split_experts(model)
    recipe = [MODIFIERS[name](**arguments) for name, arguments in asked["recipe"]]
    tell_layers()
    oneshot(model=model, recipe=recipe, dataset=loader(asked["rows"]), tokenizer=asked["folder"])
    found = [module for module in model.modules() if getattr(module, "quantization_scheme", None) is not None]
    columns = max((module.weight.shape[-1] for module in found), default=0)
    model.save_pretrained(asked["out"], save_compressed=True, max_shard_size=_SHARD)
    return {"layers": len(found), "columns": columns}


def split_experts(model: Any) -> None:
    """Make a Linear of every projection of every expert, and have it saved under the name that the checkpoint had.

    Engines look for the experts of a quantised model under the names of the original: w1, w3 and w2 in Mixtral.
    """
    linearize_moe(model)
    if get_linearized_moes(model):
        set_save_conversion_mapping(model, [one for known in model._weight_conversions for one in renamed(known)])


def renamed(known: Any) -> list[Any]:
    """How names were changed on loading, where experts are no longer stacked into one tensor."""
    if not isinstance(known, WeightConverter):
        return [known]
    parts = ("gate_proj", "up_proj") if len(known.source_patterns) > 1 else ("down_proj",)
    names = [re.search(r"experts\.\*\.(\w+)\.weight", pattern) for pattern in known.source_patterns]
    found = [(name[1], part) for name, part in zip(names, parts, strict=True) if name]
    return [
        WeightRenaming(rf"\.experts\.(\d+)\.{name}\.", rf".experts.\1.{part}.") for name, part in found if name != part
    ]


def loader(rows: list[list[int]]) -> "DataLoader[Any] | None":
    """The rows one at a time, so that no padding is ever seen; None without any."""
    if not rows:
        return None
    batches = [torch.tensor([row]) for row in rows]
    inputs: Any = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in batches]
    return DataLoader(inputs, batch_size=None)


def tell_layers() -> None:
    """Have every part of the model that was finished told as progress."""
    trace: Callable[..., list[Any]] = sequential.trace_subgraphs
    finished = LifecycleCallbacks.sequential_epoch_end
    parts = [0, 0]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print goes to the log

    def traced(*arguments: Any, **named: Any) -> list[Any]:
        graphs = trace(*arguments, **named)
        parts[:] = [0, len(graphs)]
        return graphs

    def ended(*arguments: Any, **named: Any) -> Any:
        result = finished(*arguments, **named)
        parts[0] += 1
        if parts[1]:
            print(json.dumps(parts), file=out, flush=True)
        return result

    sequential.trace_subgraphs = traced
    LifecycleCallbacks.sequential_epoch_end = ended


def first_cause(error: BaseException) -> BaseException:
    """The error that the others were raised for: the last of them holds the source code of the model."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
