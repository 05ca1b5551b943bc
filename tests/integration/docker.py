"""A runtime of containers that answers at a socket as Docker does."""

import json
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

WEB = "5e" * 32
DESCRIBED = {
    "Id": WEB,
    "Created": "2025-07-10T17:42:01.123456789Z",
    "State": {"Status": "running", "Pid": 4711},
    "Image": "sha256:" + "ab" * 32,
    "Name": "/web",
    "Config": {"Hostname": WEB[:12], "Env": ["PATH=/usr/bin"], "Image": "nginx:1.27"},
}


class Docker(BaseHTTPRequestHandler):
    """What of the Docker Engine API is needed here."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = self.path == f"/containers/{WEB}/json"
        said = DESCRIBED if found else {"message": f"No such container: {self.path.split('/')[2]}"}
        body = json.dumps(said).encode() + b"\n"
        self.send_response(200 if found else 404)
        self.send_header("Api-Version", "1.47")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingUnixStreamServer):
    """Listens at a path, until it is ended."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, kind: type[Docker]) -> None:
        super().__init__(str(path), kind)
        self.hung_up = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def end(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()
