"""A stand-in for W&B's server: it keeps runs' histories, and answers what W&B's client asks on the way."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves on a free port of this machine; `records` tells what it was sent.

    Args:
        status: the HTTP status of every answer.
        stuck: whether it takes what runs log and never answers.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, status=200, stuck=False):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.stuck = status, stuck
        self.runs = {}
        self.lock = threading.Lock()
        self.over = threading.Event()

    def handle_error(self, request, client_address):
        """Do nothing: who asked is gone."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def run(self, name):
        return self.runs.setdefault(name, {"history": [], "summary": "{}", "config": "{}", "asked": {}})

    def records(self, name):
        """Return what a run logged, in the server's order."""
        return [json.loads(line) for line in self.run(name)["history"]]

    def answer(self, query, variables):
        """Answer a GraphQL query."""
        name = variables.get("name")
        entity = {"id": "e", "name": "team"}
        if "RunResumeStatus" in query:
            bucket = self._status(name) if name in self.runs else None
            return {"model": {"id": "m", "name": "lopt", "entity": entity, "bucket": bucket}}
        if "upsertBucket" in query:
            run = self.run(name)
            run["config"] = variables.get("config") or run["config"]
            run["asked"] |= {key: value for key, value in variables.items() if value}
            project = {"id": "p", "name": variables.get("project") or "lopt", "entity": entity}
            bucket = self._status(name) | {"description": "", "sweepName": None, "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": file, "uploadUrl": f"{self.url}/files/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {"serverInfo": {"features": []}} if "features" in query else {}

    def _status(self, name):
        run = self.run(name)
        return {
            "id": f"id-{name}",
            "name": name,
            "displayName": name,
            "summaryMetrics": run["summary"],
            "historyLineCount": len(run["history"]),
            "historyTail": json.dumps(run["history"][-1:]),
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "logLineCount": 0,
            "config": run["config"],
            "tags": [],
            "notes": None,
            "wandbConfig": '{"t": 1}',
        }

    def take(self, name, files):
        """Take what a run streams: lines of its history at an offset, and its summary."""
        run = self.run(name)
        if "wandb-history.jsonl" in files:
            offset, lines = files["wandb-history.jsonl"]["offset"], files["wandb-history.jsonl"]["content"]
            run["history"][offset : offset + len(lines)] = lines
        if "wandb-summary.json" in files:
            run["summary"] = files["wandb-summary.json"]["content"][-1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        answer = {}
        with self.server.lock:
            if self.path.endswith("/graphql"):
                answer = {"data": self.server.answer(body["query"], body.get("variables") or {})}
        if self.path.endswith("/file_stream"):
            if self.server.stuck:
                self.server.over.wait()
            with self.server.lock:
                self.server.take(self.path.split("/")[-2], body.get("files") or {})
        self._reply(answer)

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._reply({})

    def _reply(self, answer):
        content = json.dumps(answer).encode()
        with contextlib.suppress(OSError):  # who asked may be gone
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


@contextlib.contextmanager
def serving(**options):
    """Serve while the context lasts."""
    server = Server(**options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
