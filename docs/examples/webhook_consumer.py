"""A whole consumer of Hundi's webhooks on the standard library: verified, deduplicated, in order.

    HUNDI_WEBHOOK_SECRET=whsec_… python docs/examples/webhook_consumer.py --port 9000 --inbox inbox.db

A message is taken in one transaction with its effect, and answered only after: a crash in between
takes neither, and the same message comes again. `webhook-id` is the message; one that is in the
inbox already has had its effect, and is answered 2xx like the first.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 5 * 60
MAX_BODY = 1024 * 1024


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """The message's id when a v1 signature holds and is young; raises ValueError."""
    message, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    now = time.time()  # noqa: TID251 - a program of its own
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > TOLERANCE_S:
        raise ValueError("too old, too new, or no time at all")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message}.{timestamp}.".encode() + body
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    # Several signatures stand side by side while a secret is rotated; one that holds is enough.
    for one in headers.get("webhook-signature", "").split():
        version, _, signature = one.partition(",")
        if version == "v1" and hmac.compare_digest(signature.encode(), wanted.encode()):
            return message
    raise ValueError("no signature holds")


def open_inbox(path: str) -> sqlite3.Connection:
    inbox = sqlite3.connect(path, isolation_level=None, timeout=10)
    inbox.execute("PRAGMA journal_mode = WAL")
    inbox.execute("CREATE TABLE IF NOT EXISTS seen (message TEXT PRIMARY KEY) STRICT")
    inbox.execute(
        "CREATE TABLE IF NOT EXISTS payment (id TEXT PRIMARY KEY, state TEXT, sequence INTEGER,"
        " effects INTEGER) STRICT"
    )
    return inbox


def take(inbox: sqlite3.Connection, message: str, event: dict) -> bool:
    """Apply the event once; False when it was applied before."""
    inbox.execute("BEGIN IMMEDIATE")
    try:
        new = inbox.execute("INSERT OR IGNORE INTO seen VALUES (?)", (message,)).rowcount == 1
        if new and event["type"].startswith("payment."):
            # A later one may overtake one that failed for long: an older state does not win.
            inbox.execute(
                "INSERT INTO payment VALUES (?, ?, ?, 1) ON CONFLICT (id) DO UPDATE SET"
                " state = CASE WHEN excluded.sequence > sequence THEN excluded.state ELSE state END,"
                " sequence = max(sequence, excluded.sequence), effects = effects + 1",
                (event["subject"], event["data"]["state"], event["sequence"]),
            )
        inbox.execute("COMMIT")
    except BaseException:
        inbox.execute("ROLLBACK")
        raise
    return new


class Hook(BaseHTTPRequestHandler):
    """One request: verify the bytes as they came, take them, say 2xx."""

    protocol_version = "HTTP/1.1"
    secret = ""
    path_of_inbox = ""

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self.answer(413)
            return
        body = self.rfile.read(int(length))
        try:
            message = verify(self.secret, self.headers, body)
        except ValueError:
            self.answer(401)
            return
        inbox = open_inbox(self.path_of_inbox)
        try:
            new = take(inbox, message, json.loads(body))
        finally:
            inbox.close()
        print("taken" if new else "again", message, flush=True)  # noqa: T201
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: what was taken is printed."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Take Hundi's webhooks.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--inbox", default="inbox.db")
    asked = parser.parse_args()
    Hook.secret, Hook.path_of_inbox = os.environ["HUNDI_WEBHOOK_SECRET"], asked.inbox
    open_inbox(asked.inbox).close()
    server = ThreadingHTTPServer(("127.0.0.1", asked.port), Hook)
    print("ready", flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
