"""What lies beside a GGUF file: the Modelfile for Ollama, README.md, SERVING.json and the licence."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.hf.chat import special_tokens
from pipelines.hf.folder import (
    CARD,
    CONFIG,
    GENERATION,
    LICENCE_FILES,
    companions,
    describe,
    licence_of,
    positions,
    read_json,
    write_json,
)
from pipelines.hf.markers import Messages, chat_template, rendered
from pipelines.quantize.go_template import GoTemplate, go_template
from pipelines.quantize.go_template_probe import Unfaithful
from pipelines.quantize.modelfile import Unwritable, modelfile, parameters
from pipelines.serving.beside import SERVING, card, digests, head
from pipelines.serving.findings import Finding

MODELFILE = "Modelfile"
_PLAIN = GoTemplate("{{ .Prompt }}", "", ())


class Ollama(NamedTuple):
    """The Modelfile's text, None with the reason where there is none, and what is to be told of it."""

    text: str | None
    notes: tuple[str, ...]


def ollama(folder: Path, file: Path, tokenizer: Any, stops: tuple[int, ...], added: str) -> Ollama:
    """The Modelfile for `file`, made of the export in `folder`; `added` is what llama.cpp opens every prompt with."""
    config, generation = read_json(folder / CONFIG), _generation(folder)
    try:
        written = chat(tokenizer, added) if tokenizer.chat_template else _PLAIN
        text = modelfile(
            file.name,
            written.template,
            [str(tokenizer.convert_ids_to_tokens(stop)) for stop in stops],
            parameters(generation, positions(config)),
            written.system,
            _licence(folder),
        )
    except (Unfaithful, Unwritable) as error:
        return Ollama(None, (str(error),))
    return Ollama(text, written.notes)


def chat(tokenizer: Any, added: str) -> GoTemplate:
    """The tokenizer's chat template for Ollama. Unfaithful where Ollama cannot write it."""
    template = chat_template(tokenizer)

    def as_written(messages: Messages, answer: bool) -> str:
        return rendered(tokenizer, template, messages, answer).text

    return go_template(as_written, added, special_tokens(tokenizer))


def findings(made: Ollama) -> list[Finding]:
    """What the Modelfile cannot do, as warnings."""
    if made.text is None:
        fix = "Serve the file with llama-server, which has the model's own template"
        return [
            Finding(
                "ollama", "W", MODELFILE, "is not written: Ollama cannot chat as the model does", made.notes[0], fix
            )
        ]
    what = "Ollama's prompts differ from the chat template's"
    return [Finding("ollama", "W", MODELFILE, what, note, "Use llama-server where it matters") for note in made.notes]


def write_folder(
    folder: Path, file: Path, made: Ollama, verified: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    """Everything but the GGUF file itself, and mode 0644 on all of it."""
    out = file.parent
    for found in companions(folder):
        if LICENCE_FILES.match(found.name):
            shutil.copyfile(found, out / found.name)
    if made.text is not None:
        (out / MODELFILE).write_text(made.text, encoding="utf-8")
    (out / CARD).write_text(_card(folder, file.stem, made), encoding="utf-8")
    serving = {
        "llama.cpp": {"command": _llama_server(file.name)},
        "ollama": {"command": _ollama(file.stem)} if made.text is not None else None,
        "model": describe(folder),
        "versions": dict(versions),
        "verified": dict(verified),
        "files": digests(out),
    }
    write_json(out / SERVING, serving)
    for path in out.iterdir():
        path.chmod(0o644)


def _card(folder: Path, name: str, made: Ollama) -> str:
    paragraphs = [
        f"# {name}",
        f"Made with Burnish; `{SERVING}` holds the checksums and what was verified.",
        f"With llama.cpp:\n\n    {' '.join(_llama_server(name + '.gguf'))}",
    ]
    if made.text is None:
        paragraphs.append(f"There is no Modelfile, for Ollama cannot write the model's prompts: {made.notes[0]}.")
    else:
        run = f"    {' '.join(_ollama(name))}\n    ollama run {name.lower()}"
        paragraphs.append(f"With Ollama, in this folder:\n\n{run}")
        paragraphs += [
            f"Under Ollama {note}, where the model's own chat template does otherwise." for note in made.notes
        ]
    return card(head("gguf", licence_of(folder)), paragraphs)


def _llama_server(file: str) -> list[str]:
    return ["llama-server", "--model", file, "--jinja"]


def _ollama(name: str) -> list[str]:
    return ["ollama", "create", name.lower(), "-f", MODELFILE]


def _generation(folder: Path) -> dict[str, Any]:
    return read_json(folder / GENERATION) if (folder / GENERATION).is_file() else {}


def _licence(folder: Path) -> str:
    """The licence's own text where it lies in the folder, otherwise its name."""
    files = [path for path in companions(folder) if LICENCE_FILES.match(path.name)]
    texts = [path.read_text(encoding="utf-8", errors="replace").strip("\n") for path in files]
    text = "\n\n".join(texts) or licence_of(folder) or ""
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)
