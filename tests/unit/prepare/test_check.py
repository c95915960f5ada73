"""What is told about broken data before anything is started."""

import json
import subprocess
import sys

import pytest

from pipelines.prepare.check import check
from pipelines.prepare.config import PrepareConfig

GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}


def test_checks_import_no_heavy_library():
    code = (
        "import sys, pipelines.prepare.check, pipelines.replay.check, pipelines.prepare.tickets;"
        "print(sorted({'torch', 'transformers', 'datasets', 'pyarrow', 'numpy', 'jinja2'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def said(path, **settings):
    source = settings.pop("source", {"files": str(path)})
    return [str(problem) for problem in check(PrepareConfig(source=source, **settings))]


def jsonl(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def turns(*said):
    return {"messages": [{"role": role, "content": "x"} for role in said]}


def test_good_files_of_every_format_have_no_problems(tmp_path):
    (tmp_path / "a.csv").write_text('\ufefftext,category\n"one, ""two""\nthree",card\n', encoding="utf-8")
    assert (
        said(tmp_path / "a.csv", format="prompt_completion", columns={"prompt": "text", "completion": "category"}) == []
    )
    (tmp_path / "b.json").write_text(json.dumps([{"instruction": "i", "input": "", "output": "o"}]))
    assert said(tmp_path / "b.json", format="alpaca") == []
    talk = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert said(jsonl(tmp_path / "c.jsonl", talk), format="sharegpt") == []
    assert said(jsonl(tmp_path / "d.jsonl", GOOD, "", GOOD)) == []
    assert said(jsonl(tmp_path / "e.jsonl", {"text": "a"}), format="text") == []


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"messages": [', "is not JSON"),
        ("[1, 2]", "is not a JSON object (got [1, 2])"),
        (turns("user"), "has no assistant turn"),
        (turns("assistant", "user"), "roles out of order (got assistant user)"),
        (turns("user", "user", "assistant"), "roles out of order"),
        (turns("user", "assistant", "user"), "does not end with an assistant turn"),
        (turns("user", "system", "assistant"), "roles out of order"),
        (turns("user", "robot"), "unknown role (got robot)"),
        ({"messages": []}, "has no assistant turn"),
        ({"messages": "nothing"}, "messages is not a JSON list"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}, "turn is empty"),
        ({"messages": [{"role": "user", "content": ["a"]}, {"role": "assistant", "content": "b"}]}, "is not text"),
        ({"other": 1}, "has no column 'messages' for messages (got other)"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "surrogate"),
    ],
)
def test_broken_row_in_the_middle_is_named_by_file_and_line(tmp_path, row, problem):
    lines = said(jsonl(tmp_path / "data.jsonl", GOOD, row, GOOD))
    assert len(lines) == 1
    assert "data.jsonl:2: " in lines[0]
    assert problem in lines[0]


def test_missing_empty_and_unreadable_files_are_all_told_at_once(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": 1}\n{"a": "\xe9"}\n')
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no end")
    (tmp_path / "notes.txt").write_text("hello")
    names = ("gone.jsonl", "empty.jsonl", "latin.jsonl", "cut.parquet", "notes.txt", "")
    lines = said(None, source={"files": [str(tmp_path / name) for name in names]})
    expected = (
        "no such file",
        "holds no rows",
        "no column 'messages'",
        "not a whole Parquet",
        "unknown ending",
        "a folder",
    )
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True))


def test_bytes_that_are_not_utf8_are_named_by_line_in_every_format(tmp_path):
    for name in ("a.jsonl", "a.json", "a.csv"):
        (tmp_path / name).write_bytes(b"text\nok\nb\xe9d\nok\n")
        lines = said(tmp_path / name, format="text")
        assert any(f"{name}:3: is not UTF-8" in line for line in lines)


def test_csv_row_of_another_width_is_named_by_its_line(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\n"two\nlines",x\nonly\nfine,y\n')
    lines = said(tmp_path / "a.csv", format="text")
    assert lines == [line for line in lines if "a.csv:4: has 1 fields, the header has 2 (got ['only'])" in line]
    assert len(lines) == 1


def test_csv_header_that_cannot_be_used_is_the_only_problem(tmp_path):
    for header, problem in ((b"a,b,a\n", "names columns twice (got a)"), (b"a,\xe9,c\n", "is not UTF-8")):
        (tmp_path / "a.csv").write_bytes(header + b"1,2,3\n" * 5)
        lines = said(tmp_path / "a.csv", format="text")
        assert len(lines) == 1
        assert f"a.csv:1: {problem}" in lines[0]


def test_unknown_column_is_told_once_with_the_known_ones(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", *[{"text": "a", "label": "b"}] * 50)
    lines = said(path, format="prompt_completion", columns={"prompt": "Say: {txt}", "completion": "label"})
    assert len(lines) == 1
    assert "has no column 'txt' for prompt (got text, label)" in lines[0]


def test_unknown_role_in_columns_is_refused(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"text": "a"})
    assert "Roles of text: text, source" in said(path, format="text", columns={"body": "text"})[0]


def test_many_problems_are_cut_and_counted(tmp_path):
    lines = said(jsonl(tmp_path / "a.jsonl", GOOD, *["nope"] * 30))
    assert len(lines) == 21
    assert lines[-1] == "and 10 more problems in the data"


def test_split_column_with_another_name_is_a_problem(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", GOOD | {"part": "train"}, GOOD | {"part": "validation"})
    assert "a.jsonl:2: column 'part' names no split (got validation)" in said(path, split={"column": "part"})[0]


def test_unknown_generator_and_broken_settings_are_told(tmp_path):
    assert "Did you mean tickets?" in said(None, source={"generator": "ticket"})[0]
    settings = tmp_path / "s.yaml"
    settings.write_text("rows: {train: 1}\nproducts: [a\n")
    assert "cannot be read" in said(None, source={"generator": "tickets", "settings": str(settings)})[0]
    settings.write_text("rows: {train: 1}\nprodcts: [a]\n")
    lines = said(None, source={"generator": "tickets", "settings": str(settings)})
    assert any("prodcts" in line for line in lines)
    assert any("products" in line for line in lines)


def test_card_gives_the_mapping_and_its_own_mistakes_are_told(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"q": "a", "a": "b"})
    card = tmp_path / "card.yaml"
    card.write_text(
        "{name: qa, origin: here, licence: MIT, about: qa, format: prompt_completion,"
        " columns: {prompt: q, completion: a}}"
    )
    assert said(None, source={"files": str(path), "card": str(card)}) == []
    card.write_text("{name: qa, origin: here, license: MIT, about: qa}")
    lines = said(None, source={"files": str(path), "card": str(card)})
    assert any("licence" in line for line in lines)
    assert any("license" in line for line in lines)
