"""What an ERP runs to keep its books of payments and refunds by Hundi's webhooks: docs/erp.md.

    HUNDI_WEBHOOK_SECRET=whsec_… python docs/examples/erp_refunds.py --port 9000 --books books.db
    python docs/examples/erp_refunds.py --books books.db --report

Each subject, a payment or a refund, has one amount that it adds to the balance of its payment's
invoice: what was captured, or what goes back. A message says what that amount is from now on, so
what is booked is the difference to what was booked before, and only if nothing newer was. A repeat,
an old one that comes late, and a refund that comes before its payment end in the same books.

Inbox and postings are one transaction of one SQLite file, and 2xx is answered after its commit.
"""

import argparse
import json
import os
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY = 1024 * 1024
PAID = {"payment.captured", "payment.succeeded"}
BACK = {"refund.created", "refund.succeeded", "refund.failed"}
TABLES = """
CREATE TABLE IF NOT EXISTS inbox (message TEXT PRIMARY KEY, type TEXT, body BLOB) STRICT;
CREATE TABLE IF NOT EXISTS subject (
  id TEXT PRIMARY KEY, payment TEXT, currency TEXT, state TEXT, sequence INTEGER, booked INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS posting (
  message TEXT PRIMARY KEY REFERENCES inbox, subject TEXT, payment TEXT, currency TEXT,
  amount INTEGER
) STRICT;
CREATE VIEW IF NOT EXISTS invoice AS
  SELECT payment, currency, sum(amount) AS balance FROM posting GROUP BY payment, currency;
"""


class UnreadableError(ValueError):
    """A message that ought to be booked and cannot be: it is not taken, so it is not lost."""


def open_books(path: str) -> sqlite3.Connection:
    books = sqlite3.connect(path, isolation_level=None, timeout=10)
    books.execute("PRAGMA journal_mode = WAL")
    books.execute("PRAGMA synchronous = FULL")  # what was answered 2xx is on the disk
    books.executescript(TABLES)
    return books


def amount_of(event: dict) -> int | None:
    """What the event's subject adds to its invoice from now on, in minor units.

    None for what no book is kept of. Raises UnreadableError for an amount that is none, and for
    another version of what is booked: silence would leave the books wrong.
    """
    kind, said = event["type"], event["data"]
    if kind not in PAID | BACK:
        return None
    text = said.get("captured" if kind in PAID else "amount")
    if event["version"] != 1 or not isinstance(text, str) or not text.isdecimal():
        raise UnreadableError(kind)
    if kind in PAID:
        return int(text)  # all that was captured so far; what goes back does not lower it
    return 0 if said["state"] == "failed" else -int(text)


def take(books: sqlite3.Connection, message: str, body: bytes) -> bool:
    """Book a message once; False when it was booked before. Raises UnreadableError."""
    try:
        event = json.loads(body)
        amount = amount_of(event)
        books.execute("BEGIN IMMEDIATE")
        put = "INSERT OR IGNORE INTO inbox VALUES (?, ?, ?)"
        new = books.execute(put, (message, event["type"], body)).rowcount == 1
        if new and amount is not None:
            book(books, message, event, amount)
        books.execute("COMMIT")
    except (KeyError, TypeError) as wrong:
        raise UnreadableError(str(wrong)) from wrong
    finally:
        if books.in_transaction:
            books.execute("ROLLBACK")
    return new


def book(books: sqlite3.Connection, message: str, event: dict, amount: int) -> None:
    said, subject, sequence = event["data"], event["subject"], event["sequence"]
    payment = said["payment"] if event["type"] in BACK else subject
    known = books.execute("SELECT sequence, booked FROM subject WHERE id = ?", (subject,))
    held, booked = known.fetchone() or (0, 0)
    if held >= sequence:
        return  # something newer of this subject was booked before: the old does not win
    books.execute(
        "INSERT OR REPLACE INTO subject VALUES (?, ?, ?, ?, ?, ?)",
        (subject, payment, said["currency"], said["state"], sequence, amount),
    )
    if amount != booked:
        books.execute(
            "INSERT INTO posting VALUES (?, ?, ?, ?, ?)",
            (message, subject, payment, said["currency"], amount - booked),
        )


class Hook(BaseHTTPRequestHandler):
    """One request: verify the bytes as they came, book them, say 2xx."""

    protocol_version = "HTTP/1.1"
    webhook: Webhook
    path_of_books = ""

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()) or int(length) > MAX_BODY:
            self.close_connection = True
            self.answer(413)
            return
        body = self.rfile.read(int(length))
        try:
            self.webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError, TypeError):  # a signature that is not ASCII
            self.answer(401)
            return
        self.answer(self.booked(self.headers["webhook-id"], body))

    def booked(self, message: str, body: bytes) -> int:
        """The status that tells Hundi whether it is rid of the message."""
        try:
            books = open_books(self.path_of_books)
            try:
                new = take(books, message, body)
            finally:
                books.close()
        except UnreadableError as wrong:
            print("unreadable", message, wrong, flush=True)  # noqa: T201
            return 422
        except sqlite3.Error as wrong:
            print("again later", message, wrong, flush=True)  # noqa: T201
            return 503
        print("booked" if new else "again", message, flush=True)  # noqa: T201
        return 204

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: what was booked is printed."""


def report(books: sqlite3.Connection) -> list[str]:
    """Each invoice with its balance in minor units; then what somebody must look at."""
    lines = [
        f"{payment} {currency} {balance}"
        for payment, currency, balance in books.execute("SELECT * FROM invoice ORDER BY payment")
    ]
    failed = books.execute("SELECT id, payment FROM subject WHERE state = 'failed' ORDER BY id")
    lines += [
        f"{refund} of {payment} failed: the customer has nothing" for refund, payment in failed
    ]
    alone = books.execute(
        "SELECT payment FROM invoice WHERE payment NOT IN (SELECT id FROM subject) ORDER BY payment"
    )
    return lines + [f"{payment} is known by its refunds alone" for (payment,) in alone]


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep books of payments and refunds.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--books", default="books.db")
    parser.add_argument("--report", action="store_true", help="print the books and end")
    asked = parser.parse_args()
    books = open_books(asked.books)
    if asked.report:
        print("\n".join(report(books)))  # noqa: T201
        return
    books.close()
    Hook.webhook, Hook.path_of_books = Webhook(os.environ["HUNDI_WEBHOOK_SECRET"]), asked.books
    server = ThreadingHTTPServer(("127.0.0.1", asked.port), Hook)
    print("ready", flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
