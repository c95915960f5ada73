"""A buffer that the base model writes itself, for users who do not have the data it learned from.

Self-synthesised rehearsal: Huang et al. 2024, arXiv 2403.01244. An answer cut off at `max_new_tokens` stays, but its
end-of-turn token takes no loss, or the model would learn to stop in mid-sentence.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.progress import progress
from pipelines.errors import wrong
from pipelines.hf.chat import render
from pipelines.hf.dataset import normalised
from pipelines.hf.masks import Mask
from pipelines.replay.config import SelfWritten
from pipelines.replay.filters import unfit
from pipelines.replay.generate import Sampling, write
from pipelines.replay.prompts import Attempt, attempts

MOST_ATTEMPTS = 2


class Answer(NamedTuple):
    """What the model wrote to one attempt; `finished` says whether it stopped by itself."""

    text: str
    tokens: int
    finished: bool


class Chat(NamedTuple):
    """An answer that was kept, by the number of its attempt."""

    number: int
    prompt: str
    answer: Answer


Drop = Callable[[str, int | None, str, str], None]
Answers = Callable[[list[tuple[int, Attempt]]], Iterator[tuple[int, Answer]]]


def planned(prompts: list[str], size: int, seed: int, greedy: bool) -> list[tuple[int, Attempt]]:
    """Numbered attempts at `size` answers: twice as many, or each prompt once where an answer cannot vary."""
    count = min(size, len(prompts)) if greedy else MOST_ATTEMPTS * size
    return list(enumerate(attempts(prompts, count, seed), 1))


def collect(
    plan: list[tuple[int, Attempt]], size: int, min_tokens: int, answers: Answers, special: tuple[str, ...], drop: Drop
) -> list[Chat]:
    """Up to `size` good answers in the order of the plan, no more of which is tried than is needed.

    UserError when fewer than half of `size` are good.
    """
    kept: list[Chat] = []
    seen: set[str] = set()
    reasons: Counter[str] = Counter()
    begin = 0
    while begin < len(plan) and len(kept) < size:
        window = plan[begin : begin + size - len(kept)]
        begin += len(window)
        found = dict(answers(window))
        for number, attempt in window:
            answer = found[number]
            text = normalised(f"{attempt.prompt}\n{answer.text}")
            fault = unfit(answer.text, answer.tokens, min_tokens, special)
            if fault is None and text in seen:
                fault = "duplicate", "the same answer to the same prompt"
            if fault is None:
                seen.add(text)
                kept.append(Chat(number, attempt.prompt, answer))
            else:
                reasons[fault[0]] += 1
                drop("self", number, *fault)
    if 2 * len(kept) < size:
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        fix = "Is this an instruction-tuned model? Else give other prompts, or replay old data with `kind: uniform`"
        raise wrong("replay", f"only {len(kept)} of {size} answers of the model are good enough to replay", why, fix)
    return kept


def answering(model: Any, tokenizer: Any, mask: Mask, policy: SelfWritten, total: int, done: Path) -> Answers:
    """A function that writes answers batch by batch, similar lengths together, and appends each batch to `done`.

    Batches that `done` already holds are read from it, so that a killed run goes on where it was.
    """
    sampling = Sampling(policy.temperature, policy.top_p, policy.max_new_tokens)
    stops = _stops(model, tokenizer, mask)
    known = _known(done)

    def encoded(attempt: Attempt) -> list[int]:
        text = render(tokenizer, [{"role": "user", "content": attempt.prompt}], add_generation_prompt=True)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def answers(window: list[tuple[int, Attempt]]) -> Iterator[tuple[int, Answer]]:
        prompts = {number: encoded(attempt) for number, attempt in window}
        ordered = sorted(window, key=lambda item: (len(prompts[item[0]]), item[0]))
        for begin in range(0, len(ordered), policy.batch_size):
            batch = ordered[begin : begin + policy.batch_size]
            if not all(number in known for number, _ in batch):
                seeds = [attempt.seed for _, attempt in batch]
                written = write(model, [prompts[number] for number, _ in batch], seeds, stops, sampling)
                found = {
                    number: _answer(tokenizer, answer.tokens, answer.finished)
                    for (number, _), answer in zip(batch, written, strict=True)
                }
                _append(done, found)
                known.update(found)
            progress(min(len(known), total), total, "answers")
            yield from ((number, known[number]) for number, _ in batch)

    return answers


def _answer(tokenizer: Any, tokens: list[int], finished: bool) -> Answer:
    """The text of an answer. A cut may fall inside a character, whose first bytes are then left out."""
    text = tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False).strip()
    return Answer(text if finished else text.rstrip("\ufffd").rstrip(), len(tokens), finished)


def _stops(model: Any, tokenizer: Any, mask: Mask) -> frozenset[int]:
    """The end-of-turn tokens of the template and those of the model's generation config."""
    eos = model.generation_config.eos_token_id
    own = eos if isinstance(eos, list) else [eos]
    return frozenset(token for token in [*own, *tokenizer.convert_tokens_to_ids(list(mask.stops))] if token is not None)


def _append(path: Path, answers: dict[int, Answer]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps([number, *answer]) + "\n" for number, answer in answers.items())


def _known(path: Path) -> dict[int, Answer]:
    """The answers that a killed attempt left; a last line cut short is not one, and is cut away."""
    if not path.exists():
        return {}
    whole = path.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    path.write_bytes(whole)
    found = (json.loads(line) for line in whole.splitlines())
    return {number: Answer(*answer) for number, *answer in found}
