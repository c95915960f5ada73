"""A hub on loopback: repositories as dicts of bytes, with the parts of its API that a push talks to."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

WRITER, READER, STRANGER = "hf_writer", "hf_reader", "hf_stranger"
_LARGE = (".safetensors", ".gguf", ".bin")
_ROLES = {WRITER: "write", READER: "read", STRANGER: "write"}


class Repo:
    """A repository: whether it is private, and by branch its commits, each a dict of paths to bytes."""

    def __init__(self, private: bool, files: dict[str, bytes] | None = None) -> None:
        self.private = private
        self.commits: dict[str, list[dict[str, bytes]]] = {"main": [files or {}]}
        self.messages: list[str] = []

    def head(self, branch: str = "main") -> dict[str, bytes]:
        return self.commits[branch][-1]

    def sha(self, branch: str = "main") -> str:
        return hashlib.sha1(repr((branch, len(self.commits[branch]))).encode()).hexdigest()

    def at(self, revision: str) -> str | None:
        """The branch that a revision names."""
        return next((name for name in self.commits if revision in (name, self.sha(name))), None)


class FakeHub(ThreadingHTTPServer):
    """The server. `requests` are the methods and paths that came, with their bodies; `blobs` what was uploaded."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.fail: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that runs while the block does."""
    hub = FakeHub()
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def log_message(self, *_: object) -> None:
        pass

    def _route(self, method: str) -> None:
        body = self._body()
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((method, path))
        if failing := next((status for part, status in self.server.fail.items() if part in path), 0):
            return self._answer(failing, {"error": "as asked"})
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not path.startswith("/blobs/") and token not in _ROLES:
            return self._answer(401, {"error": "Invalid username or password."})
        if method != "GET" and path.startswith("/api/") and token == STRANGER:
            return self._answer(403, {"error": "Forbidden"})
        for pattern, handler in _ROUTES:
            if matched := re.fullmatch(pattern, f"{method} {path}"):
                return getattr(self, handler)(body, *matched.groups())
        return self._answer(404, {"error": f"no route {method} {path}"})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _who(self, _: bytes) -> None:
        token = self.headers["Authorization"].removeprefix("Bearer ")
        self._answer(200, {"name": "me", "orgs": [], "auth": {"accessToken": {"role": _ROLES[token]}}})

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.server.repos
        if not known:
            self.server.repos[name] = Repo(asked.get("visibility") == "private", {".gitattributes": b"*.bin lfs\n"})
        self._answer(409 if known else 200, {"url": f"{self.server.url}/{name}"})

    def _info(self, _: bytes, name: str, revision: str | None) -> None:
        repo = self.server.repos.get(name)
        branch = repo.at(revision or "main") if repo else None
        if repo is None or branch is None:
            return self._answer(404, {"error": "not found"})
        return self._answer(200, {"id": name, "private": repo.private, "sha": repo.sha(branch), "siblings": []})

    def _branch(self, _: bytes, name: str, branch: str) -> None:
        commits = self.server.repos[name].commits
        known = branch in commits
        commits.setdefault(branch, [dict(commits["main"][-1])])
        self._answer(409 if known else 200, {})

    def _tree(self, _: bytes, name: str, revision: str) -> None:
        repo = self.server.repos[name]
        files = repo.head(repo.at(revision) or "main")
        self._answer(
            200,
            [
                {"type": "file", "path": path, "size": len(data), "oid": _oid(path, data)}
                for path, data in files.items()
            ],
        )

    def _yaml(self, _: bytes) -> None:
        self._answer(200, {"errors": [], "warnings": []})

    def _preupload(self, body: bytes, name: str, branch: str) -> None:
        there = self.server.repos[name].head(branch)
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LARGE) else "regular",
                "shouldIgnore": False,
                "oid": _oid(file["path"], there[file["path"]]) if file["path"] in there else None,
            }
            for file in json.loads(body)["files"]
        ]
        self._answer(200, {"files": files})

    def _batch(self, body: bytes, name: str) -> None:
        objects = []
        for one in json.loads(body)["objects"]:
            href = f"{self.server.url}/blobs/{one['oid']}"
            upload = {} if one["oid"] in self.server.blobs else {"actions": {"upload": {"href": href}}}
            objects.append({"oid": one["oid"], "size": one["size"], **upload})
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _blob(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._answer(422, {"error": "other bytes than promised"})
        self.server.blobs[oid] = body
        return self._answer(200, {})

    def _commit(self, body: bytes, name: str, branch: str) -> None:
        repo = self.server.repos[name]
        files = dict(repo.head(branch))
        for line in body.splitlines():
            one = json.loads(line)
            kind, value = one["key"], one["value"]
            if kind == "header":
                repo.messages.append(value["summary"])
                if value.get("parentCommit") not in (None, repo.sha(branch)):
                    return self._answer(412, {"error": "the branch has moved"})
            elif kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
        repo.commits[branch].append(files)
        sha = repo.sha(branch)
        return self._answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha})


def _oid(path: str, data: bytes) -> str:
    """The name of a file's content: sha256 of a large one, of git's blob otherwise."""
    if path.endswith(_LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    (r"GET /api/whoami-v2", "_who"),
    (r"POST /api/repos/create", "_create"),
    (r"POST /api/validate-yaml", "_yaml"),
    (rf"GET /api/models/{_REPO}(?:/revision/(.+))?", "_info"),
    (rf"POST /api/models/{_REPO}/branch/(.+)", "_branch"),
    (rf"GET /api/models/{_REPO}/tree/(.+)", "_tree"),
    (rf"POST /api/models/{_REPO}/preupload/(.+)", "_preupload"),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", "_batch"),
    (r"PUT /blobs/(.+)", "_blob"),
    (rf"POST /api/models/{_REPO}/commit/(.+)", "_commit"),
]
