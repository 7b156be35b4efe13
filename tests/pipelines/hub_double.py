"""A stand-in for the Hugging Face Hub: model repositories in memory, enough of its interface to push and pull.

Run as ``python hub_double.py``; it prints its address and serves until its input is closed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


class Repository:
    """Files of the newest commit; any revision is taken for it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.num_commits = 0

    @property
    def commit(self) -> str:
        return hashlib.sha1(str(self.num_commits).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repositories: dict[str, Repository] = {}  # noqa: RUF012
    uploads: dict[str, bytes] = {}  # noqa: RUF012

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if match := re.fullmatch(rf"/api/models/{REPO}(/revision/[^/]+)?", self.route):
            self.with_repository(match["repo"], self.describe)
        elif match := re.fullmatch(rf"/api/models/{REPO}/tree/[^/]+", self.route):
            self.with_repository(match["repo"], self.list_tree)
        elif match := re.fullmatch(rf"/{REPO}/resolve/[^/]+/(?P<path>.+)", self.route):
            self.with_repository(match["repo"], self.send_file, match["path"])
        else:
            self.fail(404, "RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.route == "/api/repos/create":
            self.create(json.loads(body))
        elif self.route == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        elif match := re.fullmatch(rf"/api/models/{REPO}/preupload/[^/]+", self.route):
            self.reply({"files": [self.upload_mode(file["path"]) for file in json.loads(body)["files"]]})
        elif re.fullmatch(rf"/{REPO}\.git/info/lfs/objects/batch", self.route):
            self.reply({"objects": [self.upload_action(one) for one in json.loads(body)["objects"]]})
        elif match := re.fullmatch(rf"/api/models/{REPO}/commit/[^/]+", self.route):
            self.with_repository(match["repo"], self.take_commit, body)
        else:
            self.fail(404, "RepoNotFound")

    def do_PUT(self) -> None:
        oid = self.route.removeprefix("/lfs/")
        self.uploads[oid] = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply({})

    @property
    def route(self) -> str:
        return self.path.split("?")[0]

    @property
    def address(self) -> str:
        host, port = self.server.server_address[:2]
        return f"http://{host}:{port}"

    def with_repository(self, name: str, action: Any, *arguments: Any) -> None:
        repository = self.repositories.get(name)
        if repository is None:
            self.fail(404, "RepoNotFound")
        else:
            action(name, repository, *arguments)

    def create(self, request: dict[str, Any]) -> None:
        name = f"{request.get('organization') or 'user'}/{request['name']}"
        if name in self.repositories:
            self.reply({"url": f"{self.address}/{name}", "error": "exists"}, status=409)
            return
        self.repositories[name] = Repository()
        self.reply({"url": f"{self.address}/{name}", "name": name})

    def describe(self, name: str, repository: Repository) -> None:
        siblings = [{"rfilename": path} for path in repository.files]
        self.reply({"id": name, "modelId": name, "sha": repository.commit, "siblings": siblings, "tags": []})

    def list_tree(self, name: str, repository: Repository) -> None:
        rows = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in repository.files.items()
        ]
        self.reply(rows)

    def send_file(self, name: str, repository: Repository, path: str) -> None:
        content = repository.files.get(path)
        if content is None:
            self.fail(404, "EntryNotFound", repository.commit)
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self.send(200, content, {"ETag": etag, "X-Repo-Commit": repository.commit})

    def upload_mode(self, path: str) -> dict[str, Any]:
        mode = "lfs" if path.endswith(".safetensors") else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False}

    def upload_action(self, upload: dict[str, Any]) -> dict[str, Any]:
        return {**upload, "actions": {"upload": {"href": f"{self.address}/lfs/{upload['oid']}"}}}

    def take_commit(self, name: str, repository: Repository, body: bytes) -> None:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.uploads[value["oid"]]
            elif entry["key"] == "deletedFile":
                repository.files.pop(value["path"], None)
        repository.num_commits += 1
        url = f"{self.address}/{name}/commit/{repository.commit}"
        self.reply({"success": True, "commitOid": repository.commit, "commitUrl": url})

    def reply(self, content: Any, status: int = 200) -> None:
        self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def fail(self, status: int, code: str, commit: str | None = None) -> None:
        self.send(status, b"", {"X-Error-Code": code, **({"X-Repo-Commit": commit} if commit else {})})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()
