"""scripts/pr_report.sh against a GitHub that lives in this process, through a `gh` of a few lines and through curl."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "pr_report.sh"
MARKER = "<!-- burnish:report:tickets -->"
BOT = "github-actions[bot]"
TOOLS = ("bash", "python3", "curl", "mktemp", "head", "grep", "tr", "cat", "rm", "env", "wc")
GH = """#!/usr/bin/env bash
while (($#)); do
  case $1 in
    api) shift ;;
    --method) method=$2; shift 2 ;;
    --input) body=$2; shift 2 ;;
    *) path=$1; shift ;;
  esac
done
out=$(mktemp)
code=$(curl --silent --request "$method" --header "Authorization: Bearer ${GH_TOKEN:-}" --output "$out" \\
  --write-out '%{http_code}' ${body:+--data-binary "@$body"} "$GITHUB_API_URL/$path")
cat "$out"
rm "$out"
[[ $code == 2* ]] && exit 0
echo "gh: Resource not accessible by integration (HTTP $code)" >&2
exit 1
"""


FORK = {"HEAD_REPOSITORY": "fork/r", "HEAD_BRANCH": "odd/branch name", "HEAD_SHA": "b" * 40}


class GitHub(ThreadingHTTPServer):
    """Comments of pull request 7 of o/r, which comes from fork/r. The token `write` may comment, as the bot."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.comments: list[dict[str, Any]] = []
        self.writes: list[str] = []
        self.heads: list[str] = []
        self.pulls: list[dict[str, Any]] = [
            {"number": 6, "head": {"sha": "b" * 40, "repo": None}},
            {"number": 5, "head": {"sha": "a" * 40, "repo": {"full_name": "fork/r"}}},
            {"number": 7, "head": {"sha": "b" * 40, "repo": {"full_name": "fork/r"}}},
        ]

    def add(self, body: str, login: str = BOT) -> int:
        self.comments.append({"id": len(self.comments) + 1, "body": body, "user": {"login": login}})
        return len(self.comments)


class Handler(BaseHTTPRequestHandler):
    server: GitHub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/repos/o/r/pulls":
            self.server.heads.append(query["head"][0])
            return self._answer(200, self.server.pulls)
        page, size = (int(query[key][0]) for key in ("page", "per_page"))
        known = url.path == "/repos/o/r/issues/7/comments"
        return self._answer(200 if known else 404, self.server.comments[(page - 1) * size : page * size])

    def do_POST(self) -> None:
        self._write(lambda body: self.server.add(body))

    def do_PATCH(self) -> None:
        number = int(self.path.rpartition("/")[2])
        self._write(lambda body: self.server.comments[number - 1].update(body=body))

    def log_message(self, *arguments: Any) -> None:
        pass

    def _write(self, change: Any) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        if self.headers["Authorization"] != "Bearer write":
            return self._answer(403, {"message": "Resource not accessible by integration"})
        if len(body) > 65_536:
            return self._answer(422, {"message": "body is too long"})
        change(body)
        self.server.writes.append(f"{self.command} {self.path}")
        return self._answer(200, {})

    def _answer(self, code: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def github() -> Iterator[GitHub]:
    server = GitHub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["gh", "curl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A PATH with the tools that the script needs, with a gh and without one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        # A python3 on the PATH may be a version manager's shim, which needs more of the PATH than this.
        found = sys.executable if tool == "python3" else shutil.which(tool)
        if found is None:
            pytest.skip(f"{tool} is not installed")
        (folder / tool).symlink_to(found)
    if request.param == "gh":
        (folder / "gh").write_text(GH)
        (folder / "gh").chmod(0o755)
    return str(folder)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    file = tmp_path / "report.md"
    file.write_text(f'{MARKER}\n## Burnish\n\n`quoted` \u2705 "text"\n', encoding="utf-8")
    return file


def post(github: GitHub, path: str, *arguments: Any, cwd: Path | None = None, **variables: str) -> Any:
    environment = {
        "PATH": path,
        "GITHUB_API_URL": f"http://127.0.0.1:{github.server_port}",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_REF": "refs/pull/7/merge",
        "GH_TOKEN": "write",
        "TMPDIR": tempfile.gettempdir(),
    }
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment | variables, capture_output=True, text=True, timeout=60)


def test_report_on_a_new_pull_request_is_one_comment(github: GitHub, path: str, report: Path) -> None:
    github.add("looks good", "octocat")
    done = post(github, path, report)
    assert done.returncode == 0, done.stderr
    assert github.writes == ["POST /repos/o/r/issues/7/comments"]
    assert github.comments[1]["body"] == report.read_text(encoding="utf-8")


def test_report_posted_again_updates_its_comment_among_many(github: GitHub, path: str, report: Path) -> None:
    for number in range(130):
        github.add(f"comment {number}", "octocat")
    ours = github.add(f"{MARKER}\nold")
    github.add("<!-- burnish:report:other -->\nanother recipe")
    done = post(github, path, report)
    assert done.returncode == 0, done.stderr
    assert github.writes == [f"PATCH /repos/o/r/issues/comments/{ours}"]
    assert github.comments[ours - 1]["body"] == report.read_text(encoding="utf-8")
    assert len(github.comments) == 132


def test_report_never_takes_over_the_comment_of_somebody_else(github: GitHub, path: str, report: Path) -> None:
    github.add(f"{MARKER}\nmine", "mallory")
    assert post(github, path, report).returncode == 0
    assert [comment["user"]["login"] for comment in github.comments] == ["mallory", BOT]
    assert github.comments[0]["body"] == f"{MARKER}\nmine"


def test_report_with_a_token_that_only_reads_goes_to_the_summary(
    github: GitHub, path: str, report: Path, tmp_path: Path
) -> None:
    summary = tmp_path / "summary"
    done = post(github, path, report, GH_TOKEN="read", GITHUB_STEP_SUMMARY=str(summary))
    assert (done.returncode, github.writes) == (0, [])
    assert summary.read_text(encoding="utf-8") == report.read_text(encoding="utf-8")
    assert "may not" in done.stderr and "write" not in done.stdout


def test_report_without_a_pull_request_goes_to_the_summary(
    github: GitHub, path: str, report: Path, tmp_path: Path
) -> None:
    summary = tmp_path / "summary"
    done = post(github, path, report, GITHUB_REF="refs/heads/main", GITHUB_STEP_SUMMARY=str(summary))
    assert (done.returncode, github.comments) == (0, [])
    assert summary.read_text(encoding="utf-8").startswith(MARKER)


def test_report_longer_than_a_comment_is_cut_at_a_line(github: GitHub, path: str, report: Path) -> None:
    line = "\u2713" * 999 + "\n"
    report.write_text(f"{MARKER}\n" + line * 100, encoding="utf-8")
    assert post(github, path, report).returncode == 0
    body = github.comments[0]["body"]
    assert 64_000 < len(body) <= 65_536
    assert set(body.splitlines()) == {
        MARKER,
        line.strip(),
        "",
        "</details>",
        "Cut here: GitHub takes no longer comment.",
    }


def test_report_for_a_pull_request_that_is_not_there_fails(github: GitHub, path: str, report: Path) -> None:
    done = post(github, path, report, PR_NUMBER="8")
    assert done.returncode == 1
    assert "404" in done.stderr


def test_report_by_default_is_the_newest_that_is_finished(github: GitHub, path: str, tmp_path: Path) -> None:
    for age, name in enumerate(["report-2", "report-1", "report-3.partial"]):
        file = tmp_path / "home" / "artifacts" / name / "report.md"
        file.parent.mkdir(parents=True)
        file.write_text(f"{MARKER}\n{name}\n")
        os.utime(file, (1000 + age, 1000 + age))
    done = post(github, path, BURNISH_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert github.comments[0]["body"] == f"{MARKER}\nreport-1\n"


def test_report_of_a_recipe_is_where_burnish_says(github: GitHub, path: str, report: Path) -> None:
    burnish = Path(path) / "burnish"
    burnish.write_text(
        f'#!/usr/bin/env bash\n[[ "$*" == \'show r.yaml report --json\' ]] && echo \'{{"path": "{report.parent}"}}\'\n'
    )
    burnish.chmod(0o755)
    assert post(github, path, "r.yaml").returncode == 0
    assert len(github.comments) == 1


def test_report_of_a_broken_recipe_passes_on_what_burnish_says(github: GitHub, path: str) -> None:
    burnish = Path(path) / "burnish"
    burnish.write_text("#!/usr/bin/env bash\necho '{}'\necho 'r.yaml:3: trian: unknown section' >&2\nexit 2\n")
    burnish.chmod(0o755)
    done = post(github, path, "r.yaml")
    assert (done.returncode, done.stderr) == (2, "r.yaml:3: trian: unknown section\n")


@pytest.mark.parametrize("content", [None, "# A page without the marker\n", '<!-- burnish:report:x"; rm -->\n'])
def test_report_that_is_none_is_refused(github: GitHub, path: str, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "page.md"
    if content is not None:
        file.write_text(content)
    done = post(github, path, file)
    assert (done.returncode, github.writes) == (2, [])
    assert done.stderr.startswith("pr_report: ")


def test_report_of_a_fork_finds_its_pull_request_by_the_commit_of_the_event(
    github: GitHub, path: str, report: Path
) -> None:
    done = post(github, path, report, GITHUB_REF="refs/heads/main", PR_NUMBER="", UNTRUSTED="1", **FORK)
    assert done.returncode == 0, done.stderr
    assert github.heads == ["fork:odd/branch name"]
    assert github.writes == ["POST /repos/o/r/issues/7/comments"]


@pytest.mark.parametrize("changed", [{"HEAD_SHA": "c" * 40}, {"HEAD_REPOSITORY": "other/r"}])
def test_report_of_a_commit_that_no_open_pull_request_ends_in_is_not_posted(
    github: GitHub, path: str, report: Path, tmp_path: Path, changed: dict[str, str]
) -> None:
    summary = str(tmp_path / "summary")
    told = FORK | changed | {"GITHUB_REF": "refs/heads/main", "GITHUB_STEP_SUMMARY": summary}
    done = post(github, path, report, UNTRUSTED="1", **told)
    assert (done.returncode, github.comments) == (0, [])
    assert "no open pull request ends in" in done.stderr


def test_report_that_is_not_trusted_mentions_nobody_and_says_whose_it_is(
    github: GitHub, path: str, report: Path
) -> None:
    report.write_text(f"{MARKER}\n## Burnish\n@team &#64;a &#X0040;b &commat;c a@b.c PR_NUMBER: 8\x00\n")
    done = post(github, path, report, UNTRUSTED="1")
    assert done.returncode == 0, done.stderr
    first, second, *rest = github.comments[0]["body"].splitlines()
    assert (first, second) == (MARKER, "> Made by the code of this change: believe its numbers as far as that code.")
    assert rest[-1].replace("@\u200b", "AT ") == "AT team AT a AT b AT c aAT b.c PR_NUMBER: 8"


def test_report_that_is_not_trusted_still_fits_a_comment(github: GitHub, path: str, report: Path) -> None:
    report.write_text(f"{MARKER}\n" + ("@" * 99 + "\n") * 600)
    assert post(github, path, report, UNTRUSTED="1").returncode == 0
    assert len(github.comments[0]["body"]) <= 65_536


@pytest.mark.parametrize("kind", ["link", "large", "binary"])
def test_report_that_is_not_trusted_must_be_a_plain_text_file(
    github: GitHub, path: str, report: Path, kind: str
) -> None:
    if kind == "link":
        secret = report.with_name("secret")
        report.rename(secret)
        report.symlink_to(secret)
    elif kind == "large":
        report.write_text(f"{MARKER}\n" + "x" * (1 << 20))
    else:
        report.write_bytes(f"{MARKER}\n".encode() + b"\xff\xfe")
    done = post(github, path, report, UNTRUSTED="1")
    assert (done.returncode, github.writes) == (2, [])
    assert done.stderr.startswith("pr_report: ") and len(done.stderr.splitlines()) == 1


def test_report_number_that_is_none_is_refused(github: GitHub, path: str, report: Path) -> None:
    done = post(github, path, report, PR_NUMBER="7/../../x")
    assert (done.returncode, github.writes) == (2, [])
