"""Rules about files as files: whether a server may read them, what lies beside the weights, and their licence."""

import stat
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import few
from pipelines.hf.folder import CARD, CONFIG, LICENCE_FILES, licence_of
from pipelines.serving.findings import Finding
from pipelines.serving.lint.weights_files import PICKLES

_SERVED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.gguf", "merges.txt")
_TRAINING = (
    "optimizer*", "scheduler.pt", "rng_state*.pth", "trainer_state.json", "training_args.bin", "global_step*",
    "events.out.tfevents*", "pytorch_model_fsdp*",
)  # fmt: skip
_PARTIAL = ("*.incomplete", "*.part", "*.partial", "*.crdownload", "*.aria2", "*.tmp")


def readable(folder: Path) -> Iterator[Finding]:
    """Files that a server which runs as another user cannot open, and links that lead nowhere."""
    if dangling := sorted(path.name for path in folder.iterdir() if path.is_symlink() and not path.exists()):
        fix = "Copy the files themselves here: cp -rL"
        yield Finding("dangling-link", "E", str(folder), "links to files that are not there", few(dangling), fix)
    named = {path for pattern in _SERVED for path in folder.glob(pattern) if path.is_file()}
    if private := sorted(path.name for path in named if not path.stat().st_mode & stat.S_IROTH):
        what = "holds files that only their owner may read: a server of another user does not find them"
        fix = f"chmod 0644 {' '.join(private) if len(private) < 4 else '*'} in {folder}"
        yield Finding("private-files", "E", str(folder), what, f"{len(private)}: {few(private)}", fix)
    mode = folder.stat().st_mode
    if not (mode & stat.S_IROTH and mode & stat.S_IXOTH):
        what = "is a folder that only its owner may enter: a server of another user does not find it"
        yield Finding("private-folder", "W", str(folder), what, f"{stat.S_IMODE(mode):04o}", f"chmod 0755 {folder}")


def beside(folder: Path) -> Iterator[Finding]:
    """What lies beside the weights and does not belong, or is not there and should be."""
    found = {name: sorted(path.name for pattern in patterns for path in folder.glob(pattern))
             for name, patterns in (("training", _TRAINING), ("partial", _PARTIAL), ("pickles", PICKLES))}  # fmt: skip
    if found["training"]:
        what, fix = "holds what a training run resumes from: it is not served", "Delete these files, or export again"
        yield Finding("training-leftovers", "W", str(folder), what, few(found["training"]), fix)
    if found["partial"]:
        what, fix = "holds what an unfinished download or copy left", "Fetch the folder again"
        yield Finding("partial-files", "W", str(folder), what, few(found["partial"]), fix)
    pickles = [name for name in found["pickles"] if name not in found["training"]]
    if pickles and any(folder.glob("*.safetensors")):
        what = "holds pickles beside its weights: who loads them runs their code"
        yield Finding("pickles-beside", "W", str(folder), what, few(pickles), "Delete them: the safetensors are enough")
    if code := sorted(path.name for path in folder.glob("*.py")):
        what = "holds code, which engines run with --trust-remote-code alone"
        yield Finding("code-beside", "W", str(folder), what, few(code), "Delete it where transformers knows the model")
    if not licence_of(folder) and not any(LICENCE_FILES.match(path.name) for path in folder.iterdir()):
        what = f"states no licence: neither a LICENSE nor license: in {CARD}"
        yield Finding("no-licence", "W", str(folder), what, "", "Copy the licence of the base here")


def mixed(folder: Path) -> Iterator[Finding]:
    """An adapter's files in a model's folder: transformers puts the adapter on the model, vLLM does not."""
    if (folder / CONFIG).is_file() and any(folder.glob("*.safetensors")):
        adapter = sorted(path.name for path in folder.glob("adapter_*") if path.suffix in (".json", ".safetensors"))
        if adapter:
            what = "holds a model and an adapter: transformers loads both, vLLM the model alone or not at all"
            yield Finding("adapter-beside", "E", str(folder), what, few(adapter), "Keep them in folders of their own")
