"""Rules about weight files: one set of them, whole, readable, and as their index says.

Engines choose among files by rules of their own. vLLM takes `consolidated*.safetensors` before all others, then what
the index names, and without an index every safetensors file; transformers takes `model.safetensors` before an index.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import UserError, few
from pipelines.hf.safetensors import INDEX, SINGLE, Located, TensorInfo, read_header
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import mapping, opened, unreadable

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_AGAIN = "Copy or download the file again"
_REINDEX = "Write the index again from the files, or export again"
_ONE_SET = "Delete the files that do not belong, or export again into an empty folder"
_LARGE_SHARD, _LARGE_FILE = 10_000_000_000, 50_000_000_000

Headers = Mapping[str, Mapping[str, TensorInfo]]


class Stored(NamedTuple):
    """What weight files hold: each tensor and where it is, and whether that is all, as every file could be read."""

    tensors: Mapping[str, Located]
    whole: bool
    findings: list[Finding]


def stored(folder: Path) -> Stored:
    """The tensors of the files that vLLM reads, from their headers, and what is wrong with the files."""
    files = [path.name for path in folder.glob("*.safetensors") if path.is_file()]
    present = sorted(name for name in files if not name.startswith("adapter_"))
    index = opened(folder / INDEX)
    weight_map = {name: str(file) for name, file in mapping(index.get("weight_map")).items()}
    wanted = sorted({*weight_map.values(), *_unnamed(folder, weight_map, present)}) or present
    findings = [*_index(folder, weight_map), *_sets(folder, present, wanted, bool(weight_map))]
    if not wanted:
        return Stored({}, False, [*findings, _no_weights(folder)])
    readable = [name for name in wanted if name in present]
    headers, broken = _headers(folder, readable)
    paths = {name: folder / name for name in headers}
    tensors = {tensor: Located(paths[name], info) for name, held in headers.items() for tensor, info in held.items()}
    findings += [*broken, *_twice(folder, headers), *_sizes(folder, readable)]
    if weight_map and len(headers) == len(wanted):
        findings += [*_disagreeing(folder, weight_map, headers), *_total(folder, index, tensors)]
    return Stored(tensors, len(headers) == len(wanted), findings)


def _unnamed(folder: Path, weight_map: Mapping[str, str], present: list[str]) -> list[str]:
    """Files that the index leaves out although they hold what it says is elsewhere: no second set, a wrong index."""
    named = set(weight_map.values())
    if not weight_map or not (others := [name for name in present if name not in named]):
        return []
    held = {name for tensors in _headers(folder, sorted(named & set(present)))[0].values() for name in tensors}
    lost = weight_map.keys() - held
    return [name for name, tensors in _headers(folder, others)[0].items() if not lost.isdisjoint(tensors)]


def _index(folder: Path, weight_map: Mapping[str, str]) -> list[Finding]:
    broken = unreadable(folder / INDEX, "index-broken", _REINDEX)
    if not broken and (folder / INDEX).is_file() and not weight_map:
        broken = [Finding("index-broken", "E", str(folder / INDEX), "maps no tensor to a file", "", _REINDEX)]
    return broken


def _no_weights(folder: Path) -> Finding:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        fix = "Load it with transformers and save it with save_pretrained, which writes safetensors"
        what = "has weights in pickles alone: to load them can run code, and they cannot be checked"
        return Finding("pickled-weights", "E", str(folder), what, few(pickles), fix)
    return Finding("no-weights", "E", str(folder), "holds no weights", "", "Export again: no *.safetensors is there")


def _sets(folder: Path, present: list[str], wanted: list[str], mapped: bool) -> Iterator[Finding]:
    if missing := [name for name in wanted if name not in present]:
        fix = "Copy the missing shards here, or export again"
        yield Finding("missing-shard", "E", str(folder / INDEX), "names shards that are missing", few(missing), fix)
    consolidated = [name for name in present if name.startswith("consolidated")]
    rest = [name for name in present if name not in consolidated]
    if consolidated and rest:
        what = "holds two sets of weights: vLLM serves the consolidated one, transformers the other"
        yield Finding("two-weight-sets", "E", str(folder), what, few(consolidated), _ONE_SET)
    if mapped and (stale := [name for name in rest if name not in wanted]):
        what = f"holds two sets of weights: vLLM serves the shards of the index, transformers {SINGLE}"
        yield Finding("two-weight-sets", "E", str(folder), what, few(stale), _ONE_SET)
    if not mapped and len(rest) > 1 and SINGLE in rest:
        what = f"holds two sets of weights: vLLM loads all of these files, transformers {SINGLE} alone"
        yield Finding("two-weight-sets", "E", str(folder), what, few(rest), _ONE_SET)
    if not mapped and len(rest) > 1 and SINGLE not in rest:
        what = f"holds shards but no {INDEX}: transformers does not find them"
        yield Finding("no-index", "E", str(folder), what, few(rest), _REINDEX)


def _headers(folder: Path, names: list[str]) -> tuple[dict[str, dict[str, TensorInfo]], list[Finding]]:
    headers: dict[str, dict[str, TensorInfo]] = {}
    findings: list[Finding] = []
    for name in names:
        try:
            headers[name] = read_header(folder / name)
        except UserError as error:
            findings += [Finding("weights-broken", "E", *problem) for problem in error.problems]
        except OSError as error:
            what = "cannot be read"
            findings.append(Finding("weights-broken", "E", str(folder / name), what, str(error.strerror), _AGAIN))
    return headers, findings


def _twice(folder: Path, headers: Headers) -> Iterator[Finding]:
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for file, held in headers.items():
        for name in held:
            holders[name].append(file)
    if twice := sorted(name for name, files in holders.items() if len(files) > 1):
        what = f"{len(twice)} tensors are in two files: which one is served depends on the order of loading"
        got = f"{twice[0]} in {few(holders[twice[0]])}"
        yield Finding("duplicate-tensors", "E", str(folder), what, got, "Export again into an empty folder")


def _disagreeing(folder: Path, weight_map: Mapping[str, str], headers: Headers) -> Iterator[Finding]:
    held = {(name, file) for file, tensors in headers.items() for name in tensors}
    if odd := sorted({name for name, _ in held ^ set(weight_map.items())}):
        what = f"disagrees with the files on {len(odd)} tensors"
        yield Finding("index-disagrees", "E", str(folder / INDEX), what, few(odd), _REINDEX)


def _total(folder: Path, index: dict[str, Any], tensors: Mapping[str, Located]) -> Iterator[Finding]:
    said = mapping(index.get("metadata")).get("total_size")
    total = sum(place.info.end - place.info.start for place in tensors.values())
    if said is not None and said != total:
        what, fix = "total_size is not the size of the tensors", f'Write "total_size": {total}'
        yield Finding("total-size", "W", str(folder / INDEX), what, f"{said}, not {total}", fix)


def _sizes(folder: Path, names: list[str]) -> Iterator[Finding]:
    limit = _LARGE_FILE if len(names) == 1 else _LARGE_SHARD
    for name in names:
        size = (folder / name).stat().st_size
        if size > limit:
            what = f"is larger than {limit // 10**9} GB: slow to fetch, and more than some stores take"
            fix = "Export with shards of 5 GB"
            yield Finding("large-shard", "W", str(folder / name), what, f"{size / 1e9:.1f} GB", fix)
            return
