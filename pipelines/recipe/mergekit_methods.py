"""A mergekit merge by our own methods, where they mean the same.

Rules: what mergekit 0.1.5 computes, parameter by parameter with its defaults. Where ours differs in substance (another
divisor, another scale, a setting of its own for each model) there is no translation and `Beyond` says why; where it
differs by intent (rounding, ties, norms and biases) the difference is told.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipelines.errors import wrong
from pipelines.merge.mergekit.methods import METHODS
from pipelines.recipe.mergekit_file import Chain, File, Given, flag

WITHIN = "*.[0-9]*.*"
"""Names of tensors in layers. Outside of them mergekit takes the first number of a list, ours the first or last."""
_IN_LAYERS = ("attn", "attention", "mlp", "_proj", "experts", "feed_forward", "input_layernorm", "layers.")
_WHOLE = "norms and biases are left whole, and mergekit {} them too"


class Beyond(Exception):
    """No method of ours means the same; says why."""


class Own(NamedTuple):
    """A method as a recipe writes it, the weight of each model, and how the result differs from mergekit's."""

    method: dict[str, Any]
    weights: tuple[Any, ...]
    differs: tuple[str, ...] = ()


class Job(NamedTuple):
    """A merge of whole models: `given` are all of them, `tuned` those that are not the base."""

    file: File
    given: tuple[Given, ...]
    where: str

    @property
    def tuned(self) -> tuple[Given, ...]:
        """The models that are merged; the base is one of them where the method makes no difference."""
        if METHODS[self.file.method].base == "unused":
            return self.given
        return tuple(one for one in self.given if one.model != self.file.base)

    def weights(self) -> tuple[Any, ...]:
        """The weight of each. UserError where mergekit would stop for want of one."""
        return tuple(self._weight(one) for one in self.tuned)

    def divided(self, default: bool = False) -> tuple[Any, ...]:
        """The weights, divided by their sum where `normalize` says so."""
        weights = self.weights()
        if not self.flag("normalize", default):
            return weights
        if not all(isinstance(weight, (int, float)) for weight in weights) or abs(sum(weights)) < 1e-8:
            raise Beyond("normalize: true divides by a sum of weights that is 0 or not the same for all tensors")
        return tuple(weight / sum(weights) for weight in weights)

    def one(self, name: str, default: float) -> Any:
        """A parameter that a method of ours has for all models together."""
        every = [schedule(self.file.each(name, one, default)) for one in self.tuned]
        if any(value != every[0] for value in every):
            raise Beyond(f"every model has a {name} of its own")
        return every[0]

    def shared(self, name: str, default: Any) -> Any:
        """A parameter that mergekit too has for all models together. UserError where it is missing."""
        found = schedule(self.file.shared(name, default))
        if found is None:
            raise wrong(f"{self.where}: parameters", f"mergekit's {self.file.method} needs '{name}'")
        return found

    def flag(self, name: str, default: bool) -> bool:
        return flag(self.file.shared(name, default), f"{self.where}: {name}")

    def _weight(self, one: Given) -> Any:
        found = schedule(self.file.each("weight", one))
        if found is None:
            raise wrong(
                f"{self.where}: {one.model}", f"mergekit's {self.file.method} needs a weight for every tensor of it"
            )
        return found


def own(job: Job) -> Own:
    """The method of ours that means the same. Beyond where there is none."""
    found = _METHODS.get(job.file.method)
    if found is None:
        raise Beyond("it is mergekit's alone")
    return found(job)


def schedule(setting: Chain) -> Any:
    """A setting as recipes write it: a number, or patterns of tensor names; None where nothing holds for some names."""
    if not setting or setting[-1][0]:
        return None
    patterns: dict[str, Any] = {}
    for text, value in setting:
        for pattern, number in _patterns(text, value):
            patterns.setdefault(pattern, number)
    return patterns["*"] if len(patterns) == 1 else patterns


def _patterns(text: str, value: Any) -> list[tuple[str, Any]]:
    """Patterns that fit the names that hold `text`; in order, as the first that fits counts."""
    numbers = [_number(one) for one in value] if isinstance(value, list) else [_number(value)]
    part = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in text)
    everywhere = f"*{part}*" if part else "*"
    if len(set(numbers)) == 1:
        return [(everywhere, numbers[0])]
    if any(word in text for word in _IN_LAYERS):
        return [(everywhere, numbers)]
    within = [WITHIN] if not part else [f"*.[0-9]*.*{part}*", f"*{part}*.[0-9]*.*"]
    return [*((pattern, numbers) for pattern in within), (everywhere, numbers[0])]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise wrong("parameters", "must be a number", str(value)) from None


def _linear(job: Job) -> Own:
    weights = job.weights()
    if job.flag("normalize", True):
        return Own({"kind": "linear"}, weights)
    if all(isinstance(weight, float) for weight in weights) and abs(sum(weights) - 1) < 1e-9:
        return Own({"kind": "linear"}, weights, ("the weights sum to 1, so that normalize: false makes no difference",))
    raise Beyond("with normalize: false the models are added up, not averaged")


def _task_arithmetic(job: Job) -> Own:
    ignored = any(job.file.each("density", one) for one in job.tuned)
    says = ("mergekit reads the density here and does nothing with it",) if ignored else ()
    return Own({"kind": "task_arithmetic"} | _scale(job), job.divided(), says)


def _ties(job: Job) -> Own:
    density = _density(job)
    if density != 1 and job.flag("rescale", False):
        raise Beyond("rescale: true keeps the L1 norm of what is trimmed")
    if job.flag("normalize", True):
        says = ("no density: mergekit then trims nothing",) if not _says(job, "density") else ()
        trims = _WHOLE.format("trims") + "; all that equals the threshold survives, and mergekit keeps any of it"
        return Own({"kind": "ties", "density": density} | _scale(job), job.weights(), says or (trims,))
    if density != 1:
        raise Beyond("with normalize: false what agrees is added up, and our ties takes the mean")
    says = ("ties that trims nothing and does not divide is dare_ties of density 1",)
    return Own({"kind": "dare_ties", "density": 1.0} | _scale(job), job.weights(), says)


def _dare(job: Job) -> Own:
    return Own({"kind": "dare", "density": _kept(job)} | _scale(job), job.divided(), _random(job))


def _dare_ties(job: Job) -> Own:
    density = _kept(job)
    if not job.flag("normalize", False):
        return Own({"kind": "dare_ties", "density": density} | _scale(job), job.weights(), _random(job))
    if density != 1:
        raise Beyond("with normalize: true what agrees is averaged, and our dare_ties adds it up")
    return Own({"kind": "ties", "density": 1.0} | _scale(job), job.weights(), ("nothing is dropped: that is ties",))


def _della(job: Job) -> Own:
    elect, density = job.file.method == "della", _kept(job)
    if elect and not job.flag("normalize", True):
        raise Beyond("with normalize: false what agrees is added up, and our della takes the mean")
    epsilon = job.one("epsilon", 0.15) if density != 1 else 0.0
    method = {"kind": "della", "density": density, "epsilon": epsilon, "elect": elect} | _scale(job)
    return Own(method, job.weights() if elect else job.divided(), _random(job))


def _breadcrumbs(job: Job) -> Own:
    elect, density = job.file.method == "breadcrumbs_ties", _density(job)
    if density != 1 and job.flag("rescale", False):
        raise Beyond("rescale: true keeps the L1 norm of what is trimmed")
    if elect and job.flag("normalize", False):
        raise Beyond("with normalize: true what agrees is averaged, and our breadcrumbs adds it up")
    # mergekit leaves everything where it is when nothing is to be dropped, the largest too.
    gamma = job.one("gamma", 0.01) if density != 1 else 0.0
    method = {"kind": "breadcrumbs", "density": density, "gamma": gamma, "elect": elect} | _scale(job)
    return Own(method, job.weights() if elect else job.divided(), (_WHOLE.format("trims"),))


def _model_stock(job: Job) -> Own:
    if job.flag("filter_wise", False):
        raise Beyond("filter_wise: true takes each row by itself")
    says = "where the models contradict each other the base is kept, and mergekit goes from it away from them"
    return Own({"kind": "model_stock"}, (1.0,) * len(job.tuned), (says,))


def _slerp(job: Job) -> Own:
    says = "the arc is followed at every angle; mergekit takes the straight line below 1.8 degrees"
    return Own({"kind": "slerp", "t": job.shared("t", None)}, (1.0,), (says,))


def _nuslerp(job: Job) -> Own:
    if job.file.base:
        raise Beyond("ours gives the merged task vector a length between those of the two")
    if not job.flag("nuslerp_flatten", True):
        raise Beyond("nuslerp_flatten: false takes each row or column by itself")
    weights = job.weights()
    if len(weights) != 2 or not all(isinstance(weight, float) for weight in weights) or sum(weights) == 0:
        raise Beyond("its weights differ between tensors or sum to 0")
    says = "without a base_model nuslerp is slerp between the two models, t = w2 / (w1 + w2)"
    return Own({"kind": "slerp", "t": weights[1] / sum(weights)}, (1.0,) * 2, (says,))


def _karcher(job: Job) -> Own:
    settings = {"iterations": int(job.shared("max_iter", 10)), "tolerance": job.shared("tol", 1e-5)}
    says = "mergekit's bounds of the iteration are kept; ours are 100 steps and 1e-7"
    return Own({"kind": "karcher"} | settings, (1.0,) * len(job.tuned), (says,))


def _sce(job: Job) -> Own:
    density = job.shared("select_topk", 1.0)
    says = ("all that equals the threshold is selected; norms and biases are merged whole",)
    return Own({"kind": "sce", "density": density}, (1.0,) * len(job.tuned), says if density != 1 else ())


def _scale(job: Job) -> dict[str, Any]:
    scale = job.shared("lambda", 1.0)
    return {} if scale == 1 else {"lambda": scale}


def _density(job: Job) -> Any:
    """The share that is kept; to mergekit 1 and more are the same."""
    density = job.one("density", 1.0)
    return min(density, 1.0) if isinstance(density, float) else density


def _kept(job: Job) -> Any:
    """The share that a random drop keeps."""
    density = _density(job)
    if density != 1 and not job.flag("rescale", True):
        raise Beyond("with rescale: false what is kept is not scaled up")
    return density


def _random(job: Job) -> tuple[str, ...]:
    if _density(job) == 1:
        return ()
    return (
        "what is kept is divided by its probability, and mergekit scales it until the L1 norm is as before",
        "the random masks are others; `seed:` says which, mergekit's are those of --random-seed",
        _WHOLE.format("drops"),
    )


def _says(job: Job, name: str) -> bool:
    return any(job.file.each(name, one) for one in job.tuned)


_METHODS: Mapping[str, Callable[[Job], Own]] = {
    "breadcrumbs": _breadcrumbs,
    "breadcrumbs_ties": _breadcrumbs,
    "dare_linear": _dare,
    "dare_ties": _dare_ties,
    "della": _della,
    "della_linear": _della,
    "karcher": _karcher,
    "linear": _linear,
    "model_stock": _model_stock,
    "nuslerp": _nuslerp,
    "sce": _sce,
    "slerp": _slerp,
    "task_arithmetic": _task_arithmetic,
    "ties": _ties,
}
