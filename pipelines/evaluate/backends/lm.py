"""lm-eval's view of a model behind a server. The prompts are those of the hf backend, made by its own functions."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    configure_pad_token,
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedTokenizerBase

from pipelines.errors import wrong
from pipelines.evaluate.backends.completions import Endpoint, Settings, Written, generate, score
from pipelines.evaluate.subject import Generated, Tick

Row = TypeVar("Row")
Result = TypeVar("Result")
_SEED = 1234
_SAMPLING = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"}
_LOCAL = {"use_cache"}
"""Settings of transformers that change no answer."""


class ServedLM(TemplateLM):  # type: ignore[misc]
    """A model behind a server; `max_length` is the longest prompt in tokens, `concurrency` the requests at once."""

    backend = "causal"
    add_bos_token = None
    custom_prefix_token_id = None
    eot_token_id = HFLM.eot_token_id
    prefix_token_id = HFLM.prefix_token_id
    max_gen_toks = HFLM.max_gen_toks
    tokenizer_name = HFLM.tokenizer_name
    tok_encode = HFLM.tok_encode
    tok_batch_encode = HFLM.tok_batch_encode
    apply_chat_template = HFLM.apply_chat_template

    def __init__(self, endpoint: Endpoint, words: PreTrainedTokenizerBase, max_length: int, concurrency: int) -> None:
        super().__init__()
        self.endpoint, self.max_length, self.concurrency = endpoint, max_length, concurrency
        self.tokenizer = configure_pad_token(words)
        self.chat_template_args: dict[str, Any] = {}
        self.generated: list[Generated] = []

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """(log-probability, greedy) of each continuation, in order. Cut on the left exactly as hf does."""
        self.require_scores()
        rows = [(self._fit(context + answer, len(answer)), len(answer)) for _, context, answer in requests]
        return self.each(lambda row: score(self.endpoint, *row), rows, self._tick("loglikelihood"))

    def require_scores(self) -> None:
        """UserError where the server gives no log-probabilities of prompts."""
        if not self.endpoint.scores_prompts:
            fix = "Measure only tasks that generate on it, or use the backend hf or vllm"
            raise wrong("", "the server gives no log-probabilities of prompts", self.endpoint.model, fix)

    def _fit(self, tokens: list[int], scored: int) -> list[int]:
        if not scored:
            raise wrong("", "a choice or a target has no tokens to score", fix="Give every document a text")
        if scored > self.max_length:
            fix = "Raise max_length, or leave the document out"
            raise wrong("", f"a choice or a target is longer than {self.max_length} tokens", str(scored), fix)
        return tokens[-(self.max_length + 1) :]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
        """Log-probability of whole texts, by the windows of the hf backend."""
        windows = [self._windows(*request.args) for request in requests]
        answers = iter(self._loglikelihood_tokens([(None, *window) for text in windows for window in text]))
        return [sum(value for value, _ in itertools.islice(answers, len(text))) for text in windows]

    def _windows(self, text: str) -> list[tuple[list[int], list[int]]]:
        rolling = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
        return [make_disjoint_window(window) for window in rolling]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """What the model writes after each prompt, up to a stop string, in order. How it ended is in `generated`."""
        asked = [self._settings(index, request.args[1]) for index, request in enumerate(requests)]
        rows = [(self._prompt(request.args[0], one), one) for request, one in zip(requests, asked, strict=True)]
        written = self.each(lambda row: generate(self.endpoint, *row), rows, self._tick("generate_until"))
        whole = [self._decoded(answer) for answer in written]
        ends = [[*one.stop, self.tokenizer.decode(self.eot_token_id)] for one in asked]
        self.generated = [
            Generated(answer.cut and not any(end in text for end in stop), answer.finite)
            for answer, text, stop in zip(written, whole, ends, strict=True)
        ]
        return [str(postprocess_generated_text(text, stop, None)) for text, stop in zip(whole, ends, strict=True)]

    def _settings(self, index: int, asked: dict[str, Any]) -> Settings:
        """lm-eval's names in those of the protocol. Every request has a seed of its own where answers are sampled."""
        wanted = dict(normalize_gen_kwargs(asked, self.max_gen_toks))
        until = handle_stop_sequences(wanted.pop("until"), None)
        max_tokens, sampled = wanted.pop("max_gen_toks"), wanted.pop("do_sample")
        unknown = sorted(wanted.keys() - _SAMPLING - _LOCAL)
        if unknown:
            fix = "Take it out of generation_kwargs, or use the backend hf"
            raise wrong("", "a server cannot generate with this setting", unknown[0], fix)
        sampling = {name: wanted[name] for name in sorted(wanted.keys() & _SAMPLING)}
        greedy = {} if sampled else {"temperature": 0.0}
        return Settings(max_tokens, tuple(filter(None, until)), _SEED + index, sampling | greedy)

    def _prompt(self, context: str, settings: Settings) -> list[int]:
        room = self.max_length - settings.max_tokens
        if room < 1:
            got = f"{settings.max_tokens} of {self.max_length} tokens"
            raise wrong("", "the answers asked for leave no room for a prompt", got, "Lower max_gen_toks")
        tokens: list[int] = self.tok_batch_encode([context], left_truncate_len=room)[0][0].tolist()
        return tokens

    def _decoded(self, answer: Written) -> str:
        """The answer as hf decodes it, where the server tells the token ids."""
        if answer.tokens is None:
            return answer.text
        return str(self.tokenizer.decode(answer.tokens, skip_special_tokens=True))

    def _tick(self, kind: str) -> Tick:
        """Tell of one more answer what lm-eval tells its cache, which here counts and keeps nothing."""
        return lambda *_: self.cache_hook.add_partial(kind, (), None)

    def each(self, answer: Callable[[Row], Result], rows: Sequence[Row], tick: Tick) -> list[Result]:
        """`answer` of every row, in the order of the rows, with `concurrency` of them under way."""
        answers: list[Result] = []
        with ThreadPoolExecutor(self.concurrency) as threads:
            for one in threads.map(answer, rows):
                answers.append(one)
                tick(len(answers), len(rows))
        return answers
