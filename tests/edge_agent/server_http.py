"""The small server's real socket, which loses what it is told to lose."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self

from tests.edge_agent.server_side import ProblemError, ServerSide, b64


class Handler(BaseHTTPRequestHandler):
    side: ClassVar[ServerSide]

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        match self.path:
            case "/edge/bundle":
                self.answer(200, self.side.issuer.bundle().to_bytes(), "application/cbor")
            case "/edge/me":
                body = {"party": b64(bytes(16)), "name": "Meera", "device": None}
                self.answer(200, json.dumps(body).encode(), "application/json")
            case _:
                self.answer(404, b"{}", "application/problem+json")

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        side = self.side
        losable = self.path in {"/edge/sync", "/edge/allowances"}
        if losable and side.lose_requests:
            side.lose_requests -= 1
            return
        try:
            if self.path == "/edge/sync":
                out, kind = side.sync(data), "application/cbor"
                if side.repeat_answer:
                    out = side.last_answer
                side.last_answer = out
            else:
                done = side.post(self.path, json.loads(data), self.headers.get("authorization"))
                out, kind = json.dumps(done).encode(), "application/json"
        except ProblemError as e:
            body = json.dumps({"code": e.code, "title": e.code}).encode()
            self.answer(e.status, body, "application/problem+json")
            return
        if losable and side.lose_answers:
            side.lose_answers -= 1
            return
        if side.spoil == "large":
            out = b"x" * (2 << 20)
        if side.spoil == "nonsense":
            out = b"\xff{nonsense"
        cut = side.cut_after if self.path == "/edge/sync" else None
        self.answer(200, out, kind, cut)

    def answer(self, status: int, body: bytes, kind: str, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body[:cut] if self.side.cut_told else body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body[:cut])


class RunningServer:
    """The server on 127.0.0.1, while the block runs."""

    def __init__(self, side: ServerSide) -> None:
        handler = type("BoundHandler", (Handler,), {"side": side})
        self.side = side
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
