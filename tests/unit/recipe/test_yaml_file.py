from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.recipe.yaml_file import Origin, below, origin_of, parse_yaml, plain, read_yaml


def _said(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_yaml(path)
    return str(error.value).replace(f"{path.parent}/", "")


def test_scalars_follow_yaml_1_2() -> None:
    text = "{on: x, no: no, off: yes, a: 1e-4, b: 5E3, c: .5, d: 2020-01-01, e: 012, f: 0x10, g: 0o17, h: 1:30, i: ~}"
    assert plain(parse_yaml(text, "f")) == {
        "on": "x",
        "no": "no",
        "off": "yes",
        "a": 1e-4,
        "b": 5000.0,
        "c": 0.5,
        "d": "2020-01-01",
        "e": 12,
        "f": 16,
        "g": 15,
        "h": "1:30",
        "i": None,
    }


def test_quoted_and_tagged_scalars_are_text() -> None:
    assert plain(parse_yaml("{a: '1', b: \"true\", c: !!str 5, d: -.inf}", "f")) == {
        "a": "1",
        "b": "true",
        "c": "5",
        "d": float("-inf"),
    }


def test_origins_are_the_lines_of_the_keys() -> None:
    item = parse_yaml("a:\n  b:\n    - 1\n    - c: 2\n", "f.yaml")
    assert origin_of(item, ("a", "b")) == Origin("f.yaml", 2)
    assert origin_of(item, ("a", "b", 1, "c")) == Origin("f.yaml", 4)
    assert origin_of(item, ("a", "nothing", "here")) == Origin("f.yaml", 1)
    assert below(item, ("a", "nothing")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "r.yaml: is empty"),
        (b"# nothing\n", "r.yaml: is empty"),
        (b"a: 1\nb: \xff\n", "r.yaml:2: is not UTF-8 (got byte 0xff)"),
        (b"a: 1\nb: [1, 2\n", "r.yaml:3: is not YAML: did not find expected ',' or ']' (got column 1)"),
        (b"a:\n\tb: 1\n", "r.yaml:2: is not YAML: found character that cannot start any token (got column 1)"),
        (b"a: 1\nb: 2\na: 3\n", "r.yaml:3: key 'a' is given twice, first at r.yaml:1"),
        (b"? [a]\n: 1\n", "r.yaml:1: a key must be a single word"),
        (b"a: !run x\n", "r.yaml:1: a tag that recipes do not know (got !run). Remove the tag"),
        (b"a: " + b"9" * 5000 + b"\n", "r.yaml:1: a number of more than 100 digits"),
        (b"a: &a [*a]\n", "r.yaml:1: an alias that contains itself"),
        (b"a: 1\n---\nb: 2\n", "r.yaml:2: is not YAML: but found another document (got column 1)"),
    ],
)  # fmt: skip
def test_broken_files_are_explained(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(text)
    assert _said(path) == said


def test_two_repeated_keys_are_both_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [line.split(": ")[0] for line in _said(path).splitlines()] == ["r.yaml:2", "r.yaml:3"]


def test_missing_file_and_folder_are_explained(tmp_path: Path) -> None:
    assert _said(tmp_path / "none.yaml") == "none.yaml: there is no such file"
    (tmp_path / "folder").mkdir()
    assert _said(tmp_path / "folder") == "folder: cannot be read (got Is a directory)"


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert plain(read_yaml(path)) == {"a": 1}
