"""A stand-in for the Hugging Face Hub: it keeps repositories, and answers what `huggingface_hub` asks."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_write"


class Hub(ThreadingHTTPServer):
    """Serves on a free port of this machine. `commits` has a repository's versions: (id, files by name)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits, self.private, self.asked = {}, set(), []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository, files, deleted=()):
        """Add a version in which some files are new; return its id."""
        versions = self.commits.setdefault(repository, [])
        whole = {**(versions[-1][1] if versions else {}), **files}
        whole = {name: content for name, content in whole.items() if name not in deleted}
        commit = hashlib.sha1(f"{repository} {len(versions)}".encode()).hexdigest()
        versions.append((commit, whole))
        return commit

    def version(self, repository, revision):
        """Return (id, files) of a branch or a commit, or None."""
        versions = self.commits[repository]
        named = dict([("main", versions[-1]), *((commit, (commit, files)) for commit, files in versions)])
        return named.get(revision)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def reply(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        hub, parts = self.server, unquote(urlsplit(self.path).path).strip("/").split("/")
        hub.asked.append((self.command, self.path))
        api = parts[:2] == ["api", "models"]
        repository, rest = "/".join(parts[2:4] if api else parts[:2]), parts[4:] if api else parts[2:]
        if repository in hub.private and not self.is_known():
            return self.reply({"error": "Invalid username or password."}, 401, X_Error_Code="RepoNotFound")
        if repository not in hub.commits:
            return self.reply({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        found = hub.version(repository, rest[1] if len(rest) > 1 else "main")
        if found is None:
            return self.reply({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        commit, files = found
        if not api:
            content = files["/".join(rest[2:])]
            etag = hashlib.sha1(content).hexdigest()
            return self.reply(content, X_Repo_Commit=commit, ETag=f'"{etag}"', Accept_Ranges="bytes")
        if rest[:1] == ["tree"]:
            return self.reply(
                [
                    {"type": "file", "path": name, "size": len(text), "oid": hashlib.sha1(text).hexdigest()}
                    for name, text in files.items()
                ]
            )
        return self.reply(
            {
                "_id": "0",
                "id": repository,
                "sha": commit,
                "private": False,
                "tags": [],
                "siblings": [{"rfilename": name} for name in files],
            }
        )

    do_HEAD = do_GET

    def do_POST(self):
        hub, parts = self.server, unquote(urlsplit(self.path).path).strip("/").split("/")
        hub.asked.append((self.command, self.path))
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if not self.is_known():
            return self.reply({"error": "Invalid credentials in Authorization header"}, 401)
        if parts == ["api", "validate-yaml"]:
            return self.reply({"errors": [], "warnings": []})
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != "user":
                return self.reply({"error": "You don't have the rights to create a model there"}, 403)
            known = repository in hub.commits
            if not known:
                hub.commit(repository, {".gitattributes": b"*.safetensors filter=lfs\n"})
            return self.reply({"url": f"{hub.url}/{repository}"}, 409 if known else 200)
        repository = "/".join(parts[2:4])
        if parts[4] == "preupload":
            asked = json.loads(body)["files"]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return self.reply({"files": [{"path": file["path"], **modes} for file in asked]})
        lines = [json.loads(line) for line in body.splitlines()]
        values = {
            key: [line["value"] for line in lines if line["key"] == key] for key in ("file", "deletedFile")
        }
        commit = hub.commit(
            repository,
            {value["path"]: base64.b64decode(value["content"]) for value in values["file"]},
            [value["path"] for value in values["deletedFile"]],
        )
        url = f"{hub.url}/{repository}/commit/{commit}"
        return self.reply({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def is_known(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"
