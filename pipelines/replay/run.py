"""The replay stage: a buffer of old or self-written rows, tokenised like a prepared dataset."""

from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.progress import progress
from pipelines.engine.stage import Artifact, Inputs
from pipelines.errors import wrong
from pipelines.hf.chat import IGNORED, Encoded, encode, encode_texts, special_tokens
from pipelines.hf.dataset import DatasetWriter, normalised, row_id
from pipelines.hf.masks import Mask, choose_mask
from pipelines.hf.models import load_model, load_tokenizer, model_device
from pipelines.hf.rows import Row
from pipelines.replay.config import ReplayConfig, SelfWritten, Uniform
from pipelines.replay.prompts import read_prompts
from pipelines.replay.select import held_apart
from pipelines.replay.self_written import answering, collect, planned
from pipelines.replay.uniform import choose

ANSWERS = "answers.partial"


class Replayed(NamedTuple):
    """A row to be replayed: where it comes from, what is said in it and whether its end is the writer's own."""

    line: int
    id: str
    source: str
    messages: list[dict[str, str]] | None
    text: str | None
    further: dict[str, Any]
    finished: bool = True

    @property
    def opening(self) -> str:
        """What holds rows together when some are held apart: the first question, or the whole text."""
        turns = self.messages or []
        return normalised(next((turn["content"] for turn in turns if turn["role"] == "user"), self.text or ""))


def run(config: ReplayConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill a dataset folder with at most `size` rows. Raises UserError when there is nothing fit to replay."""
    tokenizer = load_tokenizer(inputs[config.base].path)
    origin = inputs[config.from_]
    _check_kind(config, origin)
    with DatasetWriter(out_dir) as writer:
        if isinstance(config.policy, SelfWritten):
            mask: Mask | None = choose_mask(tokenizer)
            rows = _written(config, config.policy, tokenizer, origin, out_dir, writer)
        else:
            rows = _chosen(config, config.policy, origin)
            mask = choose_mask(tokenizer) if any(row.messages is not None for row in rows) else None
        apart = held_apart((row.opening for row in rows), config.held_out, config.seed)
        for done, row in enumerate(rows, 1):
            encoded = _encoded(tokenizer, row, mask)
            if len(encoded.input_ids) > config.max_length:
                detail = f"{len(encoded.input_ids)} tokens, at most {config.max_length}"
                writer.drop(row.source, row.line, "too_long", detail)
            else:
                split = "test" if row.opening in apart else "train"
                writer.add(split, Row(row.id, row.source, row.messages, *encoded), row.further, row.text)
            progress(done, len(rows), "rows")
        if not writer.kept:
            raise wrong("replay", "no row is left to replay", fix="Raise max_length or give other data")
        cut = sum(not row.finished for row in rows)
        card = writer.finish("all" if mask is None else mask.kind, cut, [], licence=None, card=None, wanted=config.size)
    (out_dir / ANSWERS).unlink(missing_ok=True)
    return card


def _check_kind(config: ReplayConfig, origin: Artifact) -> None:
    wanted = "model" if isinstance(config.policy, SelfWritten) else "dataset"
    if origin.kind != wanted:
        kind = config.policy.kind
        raise wrong(
            "replay.from", f"`kind: {kind}` wants a {wanted}", f"{origin.name}, a {origin.kind}", f"Name a {wanted}"
        )


def _written(
    config: ReplayConfig, policy: SelfWritten, tokenizer: Any, origin: Artifact, out_dir: Path, writer: DatasetWriter
) -> list[Replayed]:
    prompts = read_prompts(None if policy.prompts is None else Path(policy.prompts))
    device = model_device()
    model = load_model(origin.path, "float32" if device.type == "cpu" else None, device)
    mask = choose_mask(tokenizer)
    answers = answering(model, tokenizer, mask, policy, config.size, out_dir / ANSWERS)
    plan = planned(prompts, config.size, config.seed, greedy=policy.temperature == 0)
    chats = collect(plan, config.size, policy.min_new_tokens, answers, special_tokens(tokenizer), writer.drop)
    rows = []
    for number, prompt, answer in chats:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer.text}]
        rows.append(
            Replayed(number, row_id(turns), "self", turns, None, {"finished": answer.finished}, answer.finished)
        )
    return rows


def _chosen(config: ReplayConfig, policy: Uniform, origin: Artifact) -> list[Replayed]:
    return [
        Replayed(line, row.id, row.source, row.messages, document.get("text"), document)
        for line, row, document in choose(origin.path, config.size, policy.balance, config.seed)
    ]


def _encoded(tokenizer: Any, row: Replayed, mask: Mask | None) -> Encoded:
    """Tokens by the base's own tokenizer. An answer that was cut off does not teach where to stop."""
    if row.messages is None or mask is None:
        return encode_texts(tokenizer, [row.text or ""])[0]
    encoded = encode(tokenizer, row.messages, mask)
    if not row.finished:
        last = max(at for at, label in enumerate(encoded.labels) if label != IGNORED)
        encoded.labels[last] = IGNORED
    return encoded
