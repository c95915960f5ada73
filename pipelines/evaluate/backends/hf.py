"""transformers in this process: lm-eval's own model class, its batches shared with other processes and looked at."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import Collator, handle_stop_sequences
from transformers import LogitsProcessor, LogitsProcessorList

from pipelines.engine.stage import Artifact
from pipelines.errors import wrong
from pipelines.evaluate.batches import Padding, padding
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.score import text_hash
from pipelines.evaluate.share import shared
from pipelines.evaluate.subject import Generated, Subject
from pipelines.evaluate.texts import nlls
from pipelines.hf.models import load_model, load_tokenizer

_SEED = 1234
"""The command line's seed of torch. Answers that are sampled are drawn anew from it in every batch."""


@contextmanager
def open_hf(config: EvaluateConfig, model: Artifact) -> Iterator[Subject]:
    """The model of a folder, as it lies there, on this process's device."""
    loaded, words = load_model(model.path), load_tokenizer(model.path)
    digest = text_hash(words.backend_tokenizer.to_str())
    lm = SharedLM(pretrained=loaded, tokenizer=words, batch_size=config.batch_size, max_length=config.max_length)
    yield Subject(
        lm=lm,
        generated=lambda: lm.generated,
        nlls=lambda documents, length, tick: nlls(loaded, words, documents, length, config.batch_size, tick),
        count=lambda text: len(lm.tok_encode(text)),
        template=words.chat_template,
        max_length=lm.max_length,
        max_gen_toks=lm.max_gen_toks,
        facts={
            "backend": config.backend.kind,
            **{library: version(library) for library in ("torch", "transformers")},
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "device": loaded.device.type,
            "tokenizer": digest,
        },
        words=words,
        model=loaded,
    )


class SharedLM(HFLM):  # type: ignore[misc]
    """lm-eval's model, given one of its own batches at a time.

    The batches are composed as it would compose them, so that its numbers stay the same to the last digit, whoever
    computes which. `padding` adds up over all batches of log-likelihoods; `generated` is of the last `generate_until`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.padding = Padding(0, 0)
        self.generated: list[Generated] = []
        self._ended: list[Generated] = []

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]],
        disable_tqdm: bool = True,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Requests whose continuations follow one context and differ in the last token only share a row, as ever."""
        for texts, _, continuation in requests:
            _check_continuation(texts, len(continuation), self.max_length)
        batches = _log_likelihood_batches(requests, self.batch_size)
        lengths = [
            [min(len(context) + len(scored) - 1, self.max_length) for _, context, scored in rows] for rows, _ in batches
        ]
        self.padding = self.padding + padding(lengths)
        ask = super()._loglikelihood_tokens
        answers = shared(
            [members for _, members in batches], lambda members: ask([requests[place] for place in members], True)
        )
        return _in_order([members for _, members in batches], answers)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """Answers in the order of the requests; how each came about is in `generated`."""
        batches = _generation_batches([request.args for request in requests], self.batch_size, self.tok_encode)
        ask = super().generate_until

        def compute(batch: tuple[int, list[int]]) -> list[tuple[str, Generated]]:
            number, members = batch
            torch.manual_seed(_SEED + number)
            answers = ask([requests[place] for place in members], True)
            return list(zip(answers, self._ended, strict=True))

        both = _in_order([members for _, members in batches], shared(batches, compute))
        self.generated = [generated for _, generated in both]
        return [answer for answer, _ in both]

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **settings: Any) -> torch.Tensor:
        watch = _Watch()
        rows: torch.Tensor = super()._model_generate(
            context, max_length, stop, logits_processor=LogitsProcessorList([watch]), **settings
        )
        room, made = max_length - context.shape[1], rows[:, context.shape[1] :].tolist()
        finite = [True] * len(made) if watch.finite is None else watch.finite.tolist()
        self._ended = [
            Generated(len(row) >= room and not self._has_end(row, stop), good)
            for row, good in zip(made, finite, strict=True)
        ]
        return rows

    def _has_end(self, row: list[int], stop: list[str]) -> bool:
        """Whether the ids hold an end that `generate` knows, or their text a string that lm-eval stops at."""
        ends = self.model.generation_config.eos_token_id
        if not set(row).isdisjoint(ends if isinstance(ends, list) else [ends]):
            return True
        text = self.tok_decode(row, skip_special_tokens=False)
        return any(end in text for end in handle_stop_sequences(list(stop), None))


class _Watch(LogitsProcessor):  # type: ignore[misc]
    """Changes nothing; sees whether logits are NaN, of which `generate` would pick the first token without a word."""

    finite: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        good = ~torch.isnan(scores).any(-1)
        self.finite = good if self.finite is None else self.finite & good
        return scores


def _check_continuation(texts: tuple[str, str] | None, tokens: int, max_length: int) -> None:
    """lm-eval stops on an assertion without a word."""
    got = repr(texts[1][:60]) if texts else ""
    if not tokens:
        raise wrong(
            "", "a choice or a target has no tokens to score", got, "Give every document a text that is not empty"
        )
    if tokens > max_length:
        fix = f"Raise max_length above {tokens}, or leave the document out"
        raise wrong("", f"a choice or a target is longer than {max_length} tokens", got, fix)


def _log_likelihood_batches(
    requests: Sequence[tuple[Any, list[int], list[int]]], size: int
) -> list[tuple[list[Any], list[int]]]:
    """lm-eval's batches: the rows that are computed, and the places of all requests that they answer."""
    groups = defaultdict(list)
    for place, (_, context, scored) in enumerate(requests):
        groups[(*context, *scored[:-1])].append(place)
    ordered = Collator(
        [(place, context, scored) for place, (_, context, scored) in enumerate(requests)],
        sort_fn=lambda request: (-len(request[1] + request[2]), tuple(request[1] + request[2])),
        group_by="contexts",
        group_fn=lambda request: request[1] + request[2][:-1],
    )
    return [
        (rows, [place for _, context, scored in rows for place in groups[(*context, *scored[:-1])]])
        for rows in ordered.get_batched(n=size)
    ]


def _generation_batches(
    requests: Sequence[tuple[str, dict[str, Any]]], size: int, encode: Callable[[str], list[int]]
) -> list[tuple[int, list[int]]]:
    """lm-eval's batches, numbered: the places of the requests of each. Requests of unlike settings share none."""
    ordered = Collator(
        [(prompt, settings, place) for place, (prompt, settings) in enumerate(requests)],
        sort_fn=lambda request: (-len(encode(request[0])), request[0]),
        group_by="gen_kwargs",
        group_fn=lambda request: request[1],
    )
    return [(number, [place for *_, place in rows]) for number, rows in enumerate(ordered.get_batched(n=size))]


def _in_order(batches: Sequence[Sequence[int]], results: Sequence[Sequence[Any]]) -> list[Any]:
    """The results of batches of places, by place."""
    by_place = {
        place: result
        for places, found in zip(batches, results, strict=True)
        for place, result in zip(places, found, strict=True)
    }
    return [by_place[place] for place in range(len(by_place))]
