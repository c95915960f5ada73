"""Files of artifacts without the one part of a report that differs between two runs of one recipe: its resources."""

import json
import re
from pathlib import Path

_SECTION = re.compile(r"\n### Resources\n.*?(?=\n### )", re.DOTALL)
_ON_THE_PAGE = re.compile(r'<section id="resources".*?</section>|<div><dt>to make all of it</dt>.*?</div>', re.DOTALL)


def timeless(path: Path) -> bytes:
    """What a file holds; of report.json, report.md, summary.md and report.html all but the resources."""
    if not (path.parent / "report.json").is_file():
        return path.read_bytes()
    if path.name == "report.json":
        report = json.loads(path.read_text(encoding="utf-8"))
        return json.dumps({key: item for key, item in report.items() if key != "resources"}).encode()
    if path.name in ("report.md", "summary.md"):
        return _SECTION.sub("", path.read_text(encoding="utf-8")).encode()
    if path.name == "report.html":
        return _ON_THE_PAGE.sub("", path.read_text(encoding="utf-8")).encode()
    return path.read_bytes()
