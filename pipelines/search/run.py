"""The search stage: candidates merged and measured one after the other, and the model of the best."""

import gc
import importlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.engine.progress import PROGRESS_FILE, progress
from pipelines.engine.stage import Artifact, Inputs, ModelRef
from pipelines.engine.store import write_json
from pipelines.errors import UserError, wrong
from pipelines.evaluate.run import NotFinite
from pipelines.evaluate.run import run as evaluate
from pipelines.merge.run import run as merge
from pipelines.merge.schedule import numbers
from pipelines.merge.unfit import Unfit
from pipelines.search.candidates import Candidates
from pipelines.search.config import SearchConfig
from pipelines.search.grid import capped
from pipelines.search.space import Params, size, why_not, with_parameters
from pipelines.search.trial import Rule, Strategy, Trial, best, judged, pareto

SCRATCH = "search"
_STRATEGIES = {
    "grid": "grid:grid",
    "greedy": "greedy:greedy",
    "tpe": "sampled:tpe",
    "cmaes": "sampled:cmaes",
}
"""What asks for candidates: `module:function`."""
_CANDIDATE = ModelRef("candidate")


def run(config: SearchConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with the model of the best candidate.

    Finished trials are kept in a scratch folder inside, and a search that was killed goes on after them. A strategy is
    told the same results either way, so what it asks for and what it ends with is the same.
    """
    rule = Rule(
        config.objective.metric,
        config.objective.maximize is not None,
        {group: limit.max_drop for group, limit in config.subject_to.items()},
    )
    trials = Trials(config, inputs, rule, out_dir / SCRATCH)
    winner = _strategy(config.by)(config, rule, trials.measure)
    if not winner.admissible:
        raise _none(trials.asked, rule, config, inputs)
    made = _made(config, winner, inputs, out_dir)
    return {**made, **_told(config, inputs, trials, winner, rule)}


class Trials:
    """The trials of one search: `asked` are those that its strategy asked for, each once."""

    def __init__(self, config: SearchConfig, inputs: Inputs, rule: Rule, scratch: Path) -> None:
        self._config, self._inputs, self._rule, self._scratch = config, inputs, rule, scratch
        scratch.mkdir(exist_ok=True)
        self._file = scratch / "trials.json"
        known = json.loads(self._file.read_text(encoding="utf-8")) if self._file.is_file() else []
        self._known = [Trial(**trial) for trial in known]
        self._candidates = Candidates(inputs, scratch)
        self.base = _read(inputs[config.scores].path)
        self.asked: list[Trial] = []

    def measure(self, params: Params) -> Trial:
        """The trial of these parameters; what was measured before is not measured again."""
        for trial in self.asked:
            if trial.params == params:
                return trial
        found = next((trial for trial in self._known if trial.params == params), None)
        if found is None:
            started = time.monotonic()
            found = self._measured(params)._replace(seconds=round(time.monotonic() - started, 3))
            self._known.append(found)
            write_json(self._file, [trial._asdict() for trial in self._known])
        self.asked.append(found)
        self._say()
        return found

    def _measured(self, params: Params) -> Trial:
        try:
            config = with_parameters(self._config.merge, params)
        except ValidationError as error:
            return Trial(params, why=why_not(error))
        folder = self._scratch / "candidate"
        with _unheard():
            try:
                self._candidates.make(config, folder)
                scores = self._scores(folder)
            except (Unfit, NotFinite) as error:
                return Trial(params, why=str(error.problems[0]))
        _check_alike(self.base, scores)
        return judged(params, scores["scores"], self.base["scores"], self._rule)

    def _scores(self, folder: Path) -> dict[str, Any]:
        out = self._scratch / "scores"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        config = self._config.evaluate.model_copy(update={"model": _CANDIDATE})
        artifact = Artifact(str(_CANDIDATE), "model", folder, str(_CANDIDATE))
        scores = evaluate(config, {**self._inputs, _CANDIDATE: artifact}, out)
        gc.collect()  # the model is held in circles, and the next one needs the memory
        return scores

    def _say(self) -> None:
        found = best(self.asked, self._rule)
        shown = {"best": found.objective} if found.admissible and found.objective is not None else {}
        progress(len(self.asked), expected(self._config), "trials", **shown)


def expected(config: SearchConfig) -> int:
    """How many trials there will be."""
    if config.by == "greedy":
        return 2 * sum(any(numbers(member.weight)) for member in config.merge.models) - 1
    return min(config.trials, size(config.over) or config.trials)


@contextmanager
def _unheard() -> Iterator[None]:
    """What a candidate's merge and evaluation say of their progress would stand in the place of the search's."""
    path = os.environ.pop(PROGRESS_FILE, None)
    try:
        yield
    finally:
        if path is not None:
            os.environ[PROGRESS_FILE] = path


def _strategy(by: str) -> Strategy:
    module, _, name = _STRATEGIES[by].partition(":")
    strategy: Strategy = getattr(importlib.import_module(f"pipelines.search.{module}"), name)
    return strategy


def _made(config: SearchConfig, winner: Trial, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """The winner, made by the merge itself, in `out_dir`; nothing else is left there."""
    scratch = out_dir / SCRATCH
    folder = scratch / "winner"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    told = merge(with_parameters(config.merge, winner.params), inputs, folder)
    for path in sorted(folder.iterdir()):
        path.replace(out_dir / path.name)
    shutil.rmtree(scratch)
    return told


def _told(config: SearchConfig, inputs: Inputs, trials: Trials, winner: Trial, rule: Rule) -> dict[str, Any]:
    """What a report needs to know of the search; parameters by the names of the entries."""
    named = [trial._replace(params=_named(config, inputs, trial.params)) for trial in trials.asked]
    at = trials.asked.index(winner)
    notes = [note for note in (capped(config),) if note]
    return {
        "by": config.by,
        "suite": inputs[config.scores].name.rpartition("@")[2],
        "objective": config.objective.model_dump(exclude_none=True),
        "subject_to": dict(rule.limits),
        "trials": [trial._asdict() for trial in named],
        "best": at,
        "winner": named[at].params,
        "pareto": pareto(trials.asked, rule),
        "base": {"scores": trials.base["scores"]},
        "search_notes": notes,
    }


def _named(config: SearchConfig, inputs: Inputs, params: Params) -> Params:
    """The parameters with models by the name of their entry, where it is one model's."""
    names = [inputs[member.use].name.rpartition(".")[2] for member in config.merge.models]
    found: Params = {}
    for path, value in params.items():
        head, _, rest = path.partition(".")
        index, _, rest = rest.partition(".")
        unique = head == "models" and names.count(names[int(index)]) == 1
        found[f"models.{names[int(index)]}.{rest}" if unique else path] = value
    return found


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return content


def _check_alike(base: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Losses against the base mean something only where both were measured alike."""
    for name, contract in base["contract"].items():
        if other := [key for key in contract if contract[key] != scores["contract"].get(name, {}).get(key)]:
            fix = "Measure the candidates and the base alike; a merge keeps the base's type with dtype: keep"
            raise wrong("search", f"{name} was not measured on a candidate as on the base", ", ".join(other), fix)


def _none(trials: Sequence[Trial], rule: Rule, config: SearchConfig, inputs: Inputs) -> UserError:
    """What every trial lost, where none kept within the limits."""
    losses = "; ".join(_loss(_named(config, inputs, trial.params), trial) for trial in trials)
    allowed = ", ".join(f"{limit:g} in {group}" for group, limit in rule.limits.items())
    fix = f"Allow more than {allowed}, or search closer to the base" if allowed else "Search other values"
    return wrong("search.subject_to", "no candidate keeps within the limits", losses, fix)


def _loss(params: Params, trial: Trial) -> str:
    where = ", ".join(f"{path} {value}" for path, value in params.items())
    lost = ", ".join(f"{drop:.4g} in {group}" for group, drop in trial.drops.items())
    return f"{where}: {trial.why or f'loses {lost}'}"
