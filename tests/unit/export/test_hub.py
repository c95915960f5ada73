from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipelines.errors import UserError
from pipelines.export.config import Hub
from pipelines.export.hub import problems, push
from pipelines.export.pushes import Push, pushes, repository
from tests.unit.export.fake_hub import READER, STRANGER, WRITER, FakeHub, Repo, fake_hub

WEIGHTS = bytes(range(256)) * 400


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with fake_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "safetensors"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n\n# x\n")
    return folder


def one(folder: Path, **settings: object) -> Push:
    (wanted,) = pushes(Hub(repo="me/model", **settings), [("safetensors", folder)])
    return wanted


def test_push_new_repository_holds_the_very_bytes(hub: FakeHub, folder: Path) -> None:
    done = push(one(folder), "first")
    repo = hub.repos["me/model"]
    assert {path: (folder / path).read_bytes() for path in ("model.safetensors", "config.json", "README.md")} == {
        path: data for path, data in repo.head().items() if path != ".gitattributes"
    }
    assert repo.private and repo.messages == ["first"]
    assert done.new and done.commit == repo.sha() and done.files == 3
    assert done.bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_push_again_makes_no_commit(hub: FakeHub, folder: Path) -> None:
    first = push(one(folder), "first")
    again = push(one(folder), "second")
    assert not again.new and again.commit == first.commit
    assert len(hub.repos["me/model"].commits["main"]) == 2


def test_push_of_changed_weights_commits_them_and_removes_what_would_be_loaded_too(hub: FakeHub, folder: Path) -> None:
    kept = {"picture.png": b"p", "LICENSE": b"l", "eval/results.json": b"e", ".gitattributes": b"g"}
    stale = {"model-00002-of-00002.safetensors": b"old", "tokenizer.model": b"t", "pytorch_model.bin": b"b"}
    hub.repos["me/model"] = Repo(True, kept | stale | {"config.json": b"{}"})
    done = push(one(folder), "new")
    head = hub.repos["me/model"].head()
    assert set(head) == {*kept, "config.json", "model.safetensors", "README.md"}
    assert set(done.removed) == set(stale)
    assert len(hub.repos["me/model"].commits["main"]) == 2


def test_push_to_a_branch_makes_it_and_leaves_main(hub: FakeHub, folder: Path) -> None:
    done = push(one(folder, branch="candidate"), "x")
    repo = hub.repos["me/model"]
    assert repo.head("candidate")["model.safetensors"] == WEIGHTS
    assert "model.safetensors" not in repo.head("main")
    assert done.commit == repo.sha("candidate")
    assert not push(one(folder, branch="candidate"), "x").new


def test_push_private_to_a_public_repository_is_refused(hub: FakeHub, folder: Path) -> None:
    hub.repos["me/model"] = Repo(False)
    with pytest.raises(UserError, match=r"me/model: is public.*private: false"):
        push(one(folder), "x")
    assert not hub.repos["me/model"].head()
    assert push(one(folder, private=False), "x").new


def test_push_without_a_token_says_how_to_log_in(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="hf auth login"):
        push(one(folder), "x")
    assert hub.requests == []


@pytest.mark.parametrize(("token", "said"), [("hf_wrong", "does not know the token"), (STRANGER, "no right to write")])
def test_push_with_a_token_that_will_not_do_is_a_line_without_it(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=said) as error:
        push(one(folder), "x")
    assert token not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "status", "said"),
    [
        ("/commit/", 412, "somebody else"),
        ("/commit/", 500, "the hub refused it"),
        ("/blobs/", 422, "could not|refused"),
    ],
)
def test_push_that_the_hub_ends_leaves_no_half_of_it(
    hub: FakeHub, folder: Path, part: str, status: int, said: str
) -> None:
    hub.fail[part] = status
    with pytest.raises(UserError, match=said) as error:
        push(one(folder), "x")
    assert "\n" not in str(error.value)
    assert set(hub.repos["me/model"].head()) == {".gitattributes"}
    hub.fail.clear()
    assert push(one(folder), "x").new


def test_push_with_no_hub_in_reach_is_a_line(folder: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be reached.*network"):
        push(one(folder), "x")


def test_problems_of_a_token_that_may_write_are_none(hub: FakeHub) -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("token", "said"), [("", "no token"), ("hf_wrong", "does not know the token"), (READER, "may read, but not write")]
)
def test_problems_of_a_token_are_known_before_anything_is_pushed(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    (problem,) = problems()
    assert said in str(problem)
    assert {method for method, _ in hub.requests} <= {"GET"}


def test_problems_with_no_hub_in_reach_are_one(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    (problem,) = problems()
    assert "cannot be reached" in str(problem)


@pytest.mark.parametrize(
    ("repo", "name", "goes_to"),
    [
        ("me/m", "safetensors", "me/m"),
        ("me/m", "adapter", "me/m-adapter"),
        ("me/m", "int8", "me/m-INT8"),
        ("me/m", "w4a16_awq", "me/m-W4A16-AWQ"),
        ("me/m", "gguf_q4_k_m", "me/m-GGUF"),
        ("me/m-gguf", "gguf_q8_0", "me/m-gguf"),
    ],
)
def test_repository_of_a_format_is_named_as_tools_expect(repo: str, name: str, goes_to: str) -> None:
    assert repository(repo, name) == goes_to


def test_pushes_of_several_ggufs_share_a_repository_and_no_file(tmp_path: Path) -> None:
    folders = []
    for level in ("gguf_q8_0", "gguf_q4_k_m"):
        folder = tmp_path / level
        folder.mkdir()
        for name in ("model.gguf", "Modelfile", "README.md"):
            (folder / name).write_text(f"{level} {name}")
        folders.append((level, folder))
    (wanted,) = pushes(Hub(repo="me/m"), folders)
    assert set(wanted.files) == {"README.md"} | {
        f"{level}/{name}" for level, _ in folders for name in ("model.gguf", "Modelfile", "README.md")
    }
    assert wanted.files["README.md"] == tmp_path / "gguf_q8_0" / "README.md"


def test_push_of_a_gguf_keeps_the_other_levels_there(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "model-Q4_K_M.gguf").write_bytes(b"q4")
    hub.repos["me/m-GGUF"] = Repo(True, {"model-Q8_0.gguf": b"q8", "params.json": b"{}"})
    (wanted,) = pushes(Hub(repo="me/m"), [("gguf_q4_k_m", tmp_path)])
    push(wanted, "x")
    assert set(hub.repos["me/m-GGUF"].head()) == {"model-Q8_0.gguf", "params.json", "model-Q4_K_M.gguf"}
