"""A small hub in the test process: enough of its HTTP interface for the real clients.

Repositories are dictionaries of files, with commits, branches and tags. A test says what goes wrong: a repository may
be private, gated or disabled, and `LocalHub.trouble` may answer a request in its own way.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

REFUSALS = {
    "missing": (404, "RepoNotFound"),
    "private": (401, ""),
    "gated": (403, "GatedRepo"),
    "revision": (404, "RevisionNotFound"),
    "entry": (404, "EntryNotFound"),
}
"""Status and X-Error-Code of an answer that is none."""

API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.+))?)?")
WRITES = re.compile(
    r"/(?:api/(?:(repos/create)|(validate-yaml)|models/([^/]+/[^/]+)/(preupload|commit)/main)"
    r"|([^/]+/[^/]+)\.git/info/lfs/objects/(batch)|lfs/([0-9a-f]+))"
)
"""What a client asks in order to push a model."""

FILE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """Files of each commit, and the commit of each branch and tag."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    private: bool = False

    @property
    def files(self):
        """Those of the main branch."""
        return self.commits[self.refs["main"]]


class LocalHub(ThreadingHTTPServer):
    """Serves on a free port of this machine while it is used as a context manager.

    Attributes:
        asked: "METHOD PATH" of each request, in order.
        token: What a client has to send to see what is private; any other is refused.
        large: What was pushed of large files, by its checksum.
        trouble: Given the handler of a request, whether it has dealt with it.
        closing: Set at the end, for a trouble that waits.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []
        self.token = "the-token-of-a-reader"
        self.large: dict[str, bytes] = {}
        self.trouble: Callable[[Handler], bool] | None = None
        self.closing = threading.Event()
        self.connections: set[socket.socket] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def put(self, name, files, *, ref="main"):
        """Adds a commit to models/OWNER/NAME or datasets/OWNER/NAME and lets a branch or tag point to it."""
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        repository = self.repositories.setdefault(name, Repository())
        repository.commits[commit] = dict(files)
        repository.refs[ref] = commit
        return commit

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """Nobody listens from here on."""
        self.closing.set()
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """Nothing: clients break off as they like."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's acknowledgement

    def setup(self):
        """Notes the connection, which clients keep open."""
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self):
        """Forgets it."""
        self.server.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *values):
        """Nothing."""

    def do_GET(self):
        """Answers."""
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length) if length else b""
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.trouble is None or not self.server.trouble(self):
            self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self):
        """As the hub would, all being well."""
        sent = self.headers.get("Authorization")
        self.knows = sent == f"Bearer {self.server.token}"
        if sent is not None and not self.knows:
            self.send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
            return
        url = urlparse(self.path)
        if self.command in ("POST", "PUT") and (match := WRITES.fullmatch(url.path)):
            self.write(*match.groups())
        elif match := API.fullmatch(url.path):
            kind, name, what, *rest = match.groups()
            revision, folder = (unquote(part or "") for part in rest)
            if found := self.find(f"{kind}/{name}", revision or "main"):
                self.about(name, *found, what, folder, url.query)
        elif match := FILE.fullmatch(url.path):
            kind, name, revision, path = (unquote(part or "") for part in match.groups())
            if found := self.find(f"{kind or 'models'}/{name}", revision):
                self.file(*found, path)
        else:
            self.refuse("missing")

    def write(self, create, validate, name, step, _, batch, large):
        """Answers a step of a push: the repository, the card, each file's way, large files, the commit."""
        if large:
            self.server.large[large] = self.body
            self.json({})
        elif create:
            self.create(json.loads(self.body))
        elif validate:
            self.json({"errors": [], "warnings": []})
        elif batch:
            self.json({"transfer": "basic", "objects": [self.slot(item) for item in json.loads(self.body)["objects"]]})
        elif step == "preupload":
            large_ones = (".safetensors", ".onnx", ".bin")
            modes = {True: "lfs", False: "regular"}
            paths = [file["path"] for file in json.loads(self.body)["files"]]
            ways = [{"path": path, "uploadMode": modes[path.endswith(large_ones)]} for path in paths]
            self.json({"files": [way | {"shouldIgnore": False, "oid": None} for way in ways]})
        else:
            files = dict(self.server.repositories[f"models/{name}"].files)
            for entry in map(json.loads, self.body.splitlines()):
                value = entry["value"]
                if entry["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    files[value["path"]] = self.server.large[value["oid"]]
            commit = self.server.put(f"models/{name}", files)
            self.json({"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit})

    def create(self, asked):
        """A new repository with the one file that each has."""
        name = f"{asked['organization']}/{asked['name']}"
        if f"models/{name}" in self.server.repositories:
            self.send(409, b'{"error": "You already created this model repo"}', {})
            return
        self.server.put(f"models/{name}", {".gitattributes": b""})
        self.server.repositories[f"models/{name}"].private = asked.get("visibility") == "private"
        self.json({"url": f"{self.server.url}/{name}"})

    def slot(self, item):
        """Where a large file goes."""
        return item | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}}}

    def find(self, name, revision):
        """Commit and files of a revision; None after a refusal."""
        repository = self.server.repositories.get(name)
        if repository is None or (repository.refusal and not self.knows):
            return self.refuse("missing" if repository is None else repository.refusal)
        commit = repository.refs.get(revision, revision)
        return (commit, repository.commits[commit]) if commit in repository.commits else self.refuse("revision")

    def about(self, name, commit, files, what, folder, query):
        """What the repository is, or which files it has."""
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in files.items()
        ]
        if what == "paths-info":
            wanted = parse_qs(self.body.decode()).get("paths", [])
            self.json([entry for entry in entries if entry["path"] in wanted])
        elif what == "tree":
            inside = [entry for entry in entries if not folder or entry["path"].startswith(f"{folder}/")]
            deep = "recursive=true" in query.lower()
            depth = 1 + folder.count("/") if folder else 0
            folders = {tuple(e["path"].split("/")[: depth + 1]) for e in inside if e["path"].count("/") > depth}
            here = [entry for entry in inside if deep or entry["path"].count("/") == depth]
            here += [{"type": "directory", "path": "/".join(parts), "oid": "0" * 40} for parts in sorted(folders)]
            if inside or not folder:
                self.json(here)
            else:
                self.refuse("entry")
        else:
            time = "2026-01-01T00:00:00.000Z"
            siblings = [{"rfilename": path} for path in files]
            about = {"id": name, "sha": commit, "siblings": siblings, "lastModified": time, "createdAt": time}
            model = self.server.repositories.get(f"models/{name}")
            self.json(
                about
                | {
                    "private": model is not None and model.private,
                    "gated": False,
                    "disabled": False,
                    "tags": [],
                    "downloads": 0,
                }
            )

    def file(self, commit, files, path):
        """A file, or the part of it that is asked for."""
        if path not in files:
            self.refuse("entry", {"X-Repo-Commit": commit})
            return
        content = files[path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        status = 200
        if (part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))) and self.command == "GET":
            first, last = int(part[1]), int(part[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            status, content = 206, content[first : last + 1]
        self.send(status, content, headers)

    def refuse(self, why, headers=()):
        """An answer that says no."""
        status, code = REFUSALS[why]
        self.send(status, b'{"error": "no"}', dict(headers) | ({"X-Error-Code": code} if code else {}))

    def json(self, values):
        """An answer in JSON."""
        self.send(200, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def send(self, status, content, headers, *, cut=None, reset=True):
        """An answer; with `cut`, only so many bytes of it before the connection is reset, or closed in good order."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
