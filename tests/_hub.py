"""A small Hugging Face Hub on loopback: what the real client asks for when it downloads, and the faults it meets."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

_LARGE = (".safetensors", ".bin")
_RESOLVE = re.compile("/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_API = re.compile("/api/models/([^/]+/[^/]+?)(?:/revision/([^/]+))?$")
_BLOB = re.compile("/blobs/([^/]+/[^/]+)/([^/]+)/(.+)")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Request(NamedTuple):
    """What was asked for. `name` is a file's path in its repository, "" for a question about the repository."""

    method: str
    name: str
    range: str | None
    token: str | None


@dataclass
class Repository:
    """A published repository.

    Attributes:
        commits: The files of each commit.
        branches: Commits by branch or tag.
        token: Without it the repository is not to be seen.
        gated: Whether its files are given out on request only.
        etags: ETags by file that are not those of the contents.
        announced: Sizes by file that are not those of the contents.
        cut: After how many bytes the connection breaks, by file; once each.
    """

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str]
    token: str | None = None
    gated: bool = False
    etags: dict[str, str] = field(default_factory=dict)
    announced: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        return self.branches["main"]


class Hub:
    """The server; a context manager.

    Attributes:
        url: What `HF_ENDPOINT` has to be.
        repositories: What it has, by id.
        requests: What it was asked, in order.
        after: Called with each request once it was answered.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.after: Callable[[Request], None] = lambda _: None
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering: connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()

    def clear(self) -> None:
        """Forget all repositories and requests."""
        self.repositories.clear()
        self.requests.clear()
        self.after = lambda _: None

    def publish(self, repository: str, files: dict[str, bytes]) -> Repository:
        """Give a repository a first commit on `main`."""
        commit = hashlib.sha1(repository.encode()).hexdigest()
        made = Repository({commit: files}, {"main": commit})
        self.repositories[repository] = made
        return made

    def publish_folder(self, repository: str, folder: Path) -> Repository:
        return self.publish(repository, {path.name: path.read_bytes() for path in folder.iterdir()})

    def asked(self, method: str) -> list[str]:
        """The files that were asked for by one method, in order."""
        return [request.name for request in self.requests if request.method == method]

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """What a process needs in its environment to take this for the Hub, with a cache of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        ours = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return kept | ours | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | more


class Worker:
    """A process that answers each line of JSON with another, so that what it imports is imported once.

    The client reads its settings from its environment when it is imported, so there has to be one for each environment.
    """

    def __init__(self, script: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: object) -> Any:
        """Return the answer; a process that ends or is silent for five minutes fails the test."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        late = threading.Timer(300, self._process.kill)
        late.start()
        line = self._process.stdout.readline()
        late.cancel()
        assert line, "the process ended; its last words are on standard error"
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        found = next((match for pattern in (_API, _BLOB, _RESOLVE) if (match := pattern.fullmatch(path))), None)
        assert found is not None, path
        authorization = self.headers.get("Authorization") or ""
        token = authorization.removeprefix("Bearer ") or None
        name = found[3] if found.re is not _API else ""
        request = Request(self.command, name, self.headers.get("Range"), token)
        self.hub.requests.append(request)
        if found.re is _BLOB:
            repository = self.hub.repositories[found[1]]
            self._send(repository, name, repository.commits[found[2]][name], {})
        elif (repository_ := self._admitted(found[1], token)) is not None:
            self._of(repository_, found, name)
        self.hub.after(request)

    def _admitted(self, name: str, token: str | None) -> Repository | None:
        """The repository, or None after a refusal was sent, in the Hub's words."""
        repository = self.hub.repositories.get(name)
        if token == "expired":
            self._refuse(401, None, "Invalid credentials in Authorization header")
        elif repository is None or (repository.token is not None and token != repository.token):
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif repository.gated:
            self._refuse(403 if token else 401, "GatedRepo", f"Access to model {name} is restricted.")
        else:
            return repository
        return None

    def _of(self, repository: Repository, found: re.Match[str], name: str) -> None:
        revision = found[2] or "main"
        commit = repository.branches.get(revision, revision)
        files = repository.commits.get(commit)
        if files is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif found.re is _API:
            self._json({"id": found[1], "sha": commit, "siblings": [{"rfilename": file} for file in sorted(files)]})
        elif name not in files:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        elif name.endswith(_LARGE):
            self._redirect(repository, f"/blobs/{found[1]}/{commit}/{name}", commit, name, files[name])
        else:
            git = hashlib.sha1(b"blob %d\0" % len(files[name]) + files[name]).hexdigest()
            self._send(repository, name, files[name], {"X-Repo-Commit": commit, "ETag": f'"{git}"'})

    def _redirect(self, repository: Repository, path: str, commit: str, name: str, data: bytes) -> None:
        """What is in Git LFS lies elsewhere; its sha256 and size are told on the way."""
        self.send_response(302)
        self.send_header("Location", self.hub.url + path)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Linked-Etag", f'"{repository.etags.get(name, sha256(data))}"')
        self.send_header("X-Linked-Size", str(repository.announced.get(name, len(data))))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, repository: Repository, name: str, data: bytes, headers: dict[str, str]) -> None:
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers.get("Range") else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            cut = repository.cut.pop(name, None)
            self.wfile.write(data[start:cut])
            self.close_connection = cut is not None

    def _refuse(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        told = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self._json({"error": message}, status, told)

    def _json(self, found: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)
