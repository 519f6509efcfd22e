"""A stand-in for the Hugging Face hub on this machine: enough of its HTTP interface to create, upload to and fetch from
a repository.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Hub:
    """A hub of one user. `repos` holds {name: {path: content}}, `requests` what was asked; without the token nothing is
    written.
    """

    def __init__(self, token: str):
        self.token, self.repos, self.objects, self.requests = token, {}, {}, []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sha(self, repo: str) -> str:
        """Return the commit of a repository's content."""
        return hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()

    def post(self, path: str, body: bytes) -> dict | None:
        """Answer a request that writes; None: there is no such address."""
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.repos.setdefault(name, {})
            return {"url": f"{self.url}/{name}", "id": name}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            mode = lambda file: "lfs" if file["path"].endswith(".safetensors") else "regular"  # noqa: E731
            return {
                "files": [
                    {"path": file["path"], "uploadMode": mode(file), "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
            }
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            upload = lambda oid: {"upload": {"href": f"{self.url}/objects/{oid}", "header": {}}}  # noqa: E731
            objects = [
                {"oid": o["oid"], "size": o["size"], "actions": upload(o["oid"])} for o in json.loads(body)["objects"]
            ]
            return {"transfer": "basic", "objects": objects}
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            return self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        return None

    def _commit(self, repo: str, lines: list[dict]) -> dict:
        for line in lines:
            if line["key"] == "file":
                self.repos[repo][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "lfsFile":
                self.repos[repo][line["value"]["path"]] = self.objects[line["value"]["oid"]]
        return {"success": True, "commitOid": self.sha(repo), "commitUrl": f"{self.url}/{repo}/commit/{self.sha(repo)}"}

    def info(self, path: str) -> dict | None:
        """Answer what a repository holds."""
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path)
        if not found or found[1] not in self.repos or found[2] not in (None, "main", self.sha(found[1])):
            return None
        files = [{"rfilename": name} for name in self.repos[found[1]]]
        return {
            "id": found[1],
            "modelId": found[1],
            "sha": self.sha(found[1]),
            "siblings": files,
            "private": False,
            "tags": [],
            "downloads": 0,
        }

    def file(self, path: str) -> tuple[bytes, str] | None:
        """Return (content, commit) of a file at `main` or at its commit."""
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not found or found[1] not in self.repos or found[3] not in self.repos[found[1]]:
            return None
        return self.repos[found[1]][found[3]], self.sha(found[1])


class Handler(BaseHTTPRequestHandler):
    """Requests to a hub, which a subclass names."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, content: dict | None, otherwise: str = "RepoNotFound") -> None:
        if content is None:
            return self.answer(404, b"{}", X_Error_Code=otherwise, X_Error_Message="not here")
        self.answer(200, json.dumps(content).encode(), Content_Type="application/json")

    def path_and_body(self) -> tuple[str, bytes]:
        self.hub.requests.append(f"{self.command} {self.path}")
        return unquote(self.path.partition("?")[0]), self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self) -> None:
        path, body = self.path_and_body()
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.answer(401, b"{}", X_Error_Message="Invalid username or password.")
        self.answer_json(self.hub.post(path, body))

    def do_PUT(self) -> None:
        path, body = self.path_and_body()
        self.hub.objects[path.rpartition("/")[2]] = body
        self.answer(200, b"")

    def do_GET(self) -> None:
        path, _ = self.path_and_body()
        if path.startswith("/api/"):
            return self.answer_json(self.hub.info(path))
        if (found := self.hub.file(path)) is None:
            return self.answer_json(None, "EntryNotFound")
        content, commit = found
        self.answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=commit)

    do_HEAD = do_GET
