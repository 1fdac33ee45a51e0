"""web/ over plain HTTP on localhost, where browsers have WebCrypto, under the policy that the server sends."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from web import FOLDER

ROOT = Path(__file__).parents[2]
POLICY = "default-src 'self'"
PLACES = {"/vectors/": ROOT / "offline" / "vectors", "/tests/": Path(__file__).parent}


class _Files(SimpleHTTPRequestHandler):
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
def site() -> Iterator[str]:
    """Its address, without a slash at the end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(FOLDER))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
