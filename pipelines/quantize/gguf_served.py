"""A GGUF file as llama.cpp serves it, held against the export it was made from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipelines.errors import Problem, UserError, wrong
from pipelines.hf.chat import special_tokens
from pipelines.hf.folder import CONFIG, GENERATION, id_list, read_json
from pipelines.hf.stops import turn_end
from pipelines.quantize.checked import Distance
from pipelines.quantize.gguf_outside import served
from pipelines.quantize.gguf_words import CONVERSATIONS, DECOMPOSED, Expected, expected, misread
from pipelines.serving.environments import Environment
from pipelines.serving.findings import Check
from pipelines.serving.look.parity import folder_logits, prompt_ids

TOLERANCES = {"gguf_f16": 0.01, "gguf_q8_0": 0.1}
"""Nats a token, mean over the fixed prompts, that levels which lose next to nothing may lie from the export."""
_CONTEXT, _TOKENS, _LIKELIEST = 1024, 32, 1000


class Served(NamedTuple):
    """What llama.cpp said of a file, and what it should have said.

    `answer` is that of `gguf_look.py`; `stops` the ids of tokens that end an answer.
    """

    answer: Mapping[str, Any]
    words: Expected
    stops: tuple[int, ...]
    distance: Distance


def look(environment: Environment, file: Path, folder: Path, tokenizer: Any, add_bos: bool | None) -> Served:
    """Serve the file and ask. UserError where llama.cpp does not load it."""
    words = expected(tokenizer, special_tokens(tokenizer), add_bos)
    prompts, stops = prompt_ids(tokenizer), stop_ids(folder, tokenizer)
    asked = {"context": _CONTEXT, "texts": [*words.texts, DECOMPOSED], "conversations": CONVERSATIONS}
    asked |= {"prompts": prompts, "likeliest": _LIKELIEST, "stops": stops, "tokens": _TOKENS}
    answer = served(environment, file, asked)
    return Served(answer, words, stops, distance(folder_logits(folder, prompts, "float32"), answer["said"]))


def stop_ids(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends an answer, the end of a turn first."""
    generation = read_json(folder / GENERATION) if (folder / GENERATION).is_file() else {}
    found = [turn_end(tokenizer), tokenizer.eos_token_id, *id_list(generation.get("eos_token_id"))]
    return tuple(dict.fromkeys(token for token in found if token is not None))


def distance(logits: Sequence[torch.Tensor], said: Sequence[Sequence[Mapping[str, float]]]) -> Distance:
    """How far the distributions that were said lie from those of `logits`, [tokens, vocabulary] for each prompt.

    Of each, the probabilities of the likeliest tokens were said; the others count as one. That makes the divergence
    never larger than it is.
    """
    rows = torch.cat(list(logits)).double().log_softmax(-1)
    tops = [top for prompt in said for top in prompt]
    mean = torch.logsumexp(rows, 0) - math.log(len(rows))
    context = float((rows.exp() * (rows - mean)).sum(-1).mean())
    total, same = 0.0, 0
    for row, top in zip(rows, tops, strict=True):
        ids = [int(token) for token in top]
        theirs = torch.tensor(list(top.values()), dtype=torch.float64).exp()
        total += _between(row[ids].exp(), theirs, len(ids) < len(row))
        same += int(row.argmax()) == ids[int(theirs.argmax())]
    return Distance(total / len(rows), same / len(rows), context)


def _between(ours: torch.Tensor, theirs: torch.Tensor, partial: bool) -> float:
    if partial:
        ours = torch.cat([ours, (1 - ours.sum()).clamp(min=0).unsqueeze(0)])
        theirs = torch.cat([theirs, (1 - theirs.sum()).clamp(min=0).unsqueeze(0)])
    tiny = torch.finfo(torch.float32).tiny
    return max(float((ours * (ours.clamp(min=tiny) / theirs.clamp(min=tiny)).log()).sum()), 0.0)


def checked(seen: Served, level: str, folder: Path, tokenizer: Any) -> list[Check]:
    """The checks that held. UserError with every one that did not."""
    where = str(folder)
    problems = [*misread(seen.words, seen.answer, where), *_unlike(seen, folder, tokenizer)]
    if not seen.distance.kl <= TOLERANCES.get(level, math.inf):
        got = f"{seen.distance.kl:.3g} nats a token, at most {TOLERANCES[level]:.3g}"
        problems.append(Problem(where, f"at {level} llama.cpp says other than the export", got, "Convert it again"))
    if problems:
        raise UserError(*problems)
    chats = sum(chat is not None for chat in seen.words.chats)
    facts = seen.answer["facts"]
    return [
        Check(
            "llama.cpp loads it", f"{facts['general.architecture']}, pre-tokenizer {facts.get('tokenizer.ggml.pre')}"
        ),
        Check("llama.cpp reads fixed texts as the tokenizer does", f"{len(seen.words.texts)} texts, token for token"),
        Check("llama.cpp writes the chat template's prompts", f"{chats} conversations, token for token"),
        Check("generation ends at every stop token", ", ".join(f"token {stop}" for stop in seen.stops)),
        Check("special tokens and context are the model's", f"{seen.answer['context']} tokens"),
        Check("divergence from the export, nats a token", seen.distance.kl),
        Check("agreement with the export on the likeliest token", seen.distance.agreement),
    ]


def _unlike(seen: Served, folder: Path, tokenizer: Any) -> list[Problem]:
    """What the file says of itself and the model does not."""
    facts, config = seen.answer["facts"], read_json(folder / CONFIG)
    config = config.get("text_config") or config
    wanted = {
        "tokenizer.ggml.bos_token_id": tokenizer.bos_token_id,
        "tokenizer.ggml.eos_token_id": tokenizer.eos_token_id,
        "tokenizer.ggml.padding_token_id": tokenizer.pad_token_id,
        "tokenizer.chat_template": tokenizer.chat_template,
    }
    told = {name: (facts.get(name), value) for name, value in wanted.items() if value is not None}
    if "max_position_embeddings" in config:
        told["context length"] = (seen.answer["context"], config["max_position_embeddings"])
    found = [
        Problem(
            str(folder), f"the GGUF file has another {name}", f"{str(got)[:60]} for {str(value)[:60]}", "Convert again"
        )
        for name, (got, value) in told.items()
        if got != value
    ]
    for stop, stopped in zip(seen.stops, seen.answer["stopped"], strict=True):
        if not stopped:
            text = tokenizer.convert_ids_to_tokens(stop)
            fix = "Make it the tokenizer's EOS, or the end of a turn of its chat template"
            found.append(Problem(str(folder), "llama.cpp does not stop at a stop token", f"{stop} {text}", fix))
    return found


def added_bos(seen: Served, tokenizer: Any) -> str:
    """What llama.cpp itself writes before every prompt: the text of BOS, or nothing."""
    ids, opened = seen.answer["ids"][0], seen.answer["opened"][0]
    if ids == opened:
        return ""
    if opened == [tokenizer.bos_token_id, *ids]:
        return str(tokenizer.bos_token)
    raise wrong(
        "tokenizer.json", "the tokenizer closes texts, and chats with them", f"{opened}", "Let it add BOS alone"
    )
