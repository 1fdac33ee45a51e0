"""web/ over plain HTTP on localhost, where browsers have WebCrypto, under the policy that the server sends."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.browser.edge import Edge
from web import FOLDER

ROOT = Path(__file__).parents[2]
POLICY = "default-src 'self'"
PLACES = {"/vectors/": ROOT / "offline" / "vectors", "/tests/": Path(__file__).parent}


class _Files(SimpleHTTPRequestHandler):
    def __init__(self, *words: Any, edge: Edge | None = None, **named: Any) -> None:
        self.edge = edge
        super().__init__(*words, **named)

    def do_GET(self) -> None:
        if self.path.startswith("/edge/"):
            self._answer(b"")
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        assert self.edge is not None
        status, answer = self.edge.answer(self.path, body)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def translate_path(self, path: str) -> str:
        for place, folder in PLACES.items():
            if path.startswith(place):
                return str(folder / Path(path).name)
        return super().translate_path(path)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@contextmanager
def site(edge: Edge | None = None, folder: Path = FOLDER) -> Iterator[str]:
    """Its address, without a slash at the end."""
    handler = partial(_Files, directory=str(folder), edge=edge)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
