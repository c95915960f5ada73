"""Tiny wheels, and an index of them in a folder, so that uv installs for real and nothing is downloaded."""

import zipfile
from collections.abc import Sequence
from pathlib import Path


def wheel(folder: Path, name: str, version: str, module: str = "", source: str = "", needs: Sequence[str] = ()) -> Path:
    """A wheel of one module; with a command of that name, which prints the version of its distribution."""
    folder.mkdir(parents=True, exist_ok=True)
    module = module or name.replace("-", "_")
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    main = "\ndef main():\n    print('hello')\n"
    files = {
        f"{module}/__init__.py": source + main,
        f"{info}/METADATA": "\n".join(
            [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                f"Version: {version}",
                *(f"Requires-Dist: {one}" for one in needs),
            ]
        )
        + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{module}-say = {module}:main\n",
    }
    record = f"{info}/RECORD"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
        archive.writestr(record, "".join(f"{inside},,\n" for inside in [*files, record]))
    return path
