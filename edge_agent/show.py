"""What the agent says: one clear line on what happened to the money, or the same as one JSON object."""

import json
import os
import sqlite3
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from devices.keystore.port import KeyStoreError
from edge_agent.accepting import Scanned
from edge_agent.amounts import format_amount
from edge_agent.codes import write_png
from edge_agent.errors import AgentError, VerdictError
from edge_agent.terminal import Terminal
from offline import qr
from offline.verdicts import Refused, Verdict, operator_sentence


class Look(StrEnum):
    """How a line looks; only PAID may look like paid."""

    PAID = "bold white on green"
    FINE = "bold green"
    NOT_PAID = "bold white on red"
    PAID_BEFORE = "bold black on yellow"
    PLAIN = "bold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer of the agent. `code` is a verdict or a technical code; `text` an OV1 code to show."""

    ok: bool
    code: str
    line: str
    look: Look = Look.PLAIN
    detail: str = ""
    text: str | None = None
    facts: dict[str, object] = field(default_factory=dict)
    rows: list[dict[str, object]] | None = None
    columns: tuple[str, ...] | None = None
    """What of the rows a person sees; a script sees all of it."""

    def body(self) -> dict[str, object]:
        """Give the answer as a script or a page reads it."""
        body: dict[str, object] = {
            "ok": self.ok,
            "code": self.code,
            "message": self.line,
            "detail": self.detail,
        }
        body |= self.facts
        if self.text is not None:
            body["text"] = self.text
        if self.rows is not None:
            body["rows"] = self.rows
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where answers go."""

    as_json: bool
    draw: bool
    png: Path | None = None

    def say(self, said: Said) -> None:
        said = self._pictured(said)
        if self.as_json:
            sys.stdout.write(json.dumps(said.body()) + "\n")
            sys.stdout.flush()
            return
        console = Console(highlight=False, soft_wrap=True)
        console.print(Text(f" {said.line} ", style=said.look.value))
        if said.detail:
            console.print(Text(said.detail))
        for name, value in said.facts.items():
            if value is not None and not isinstance(value, dict | list):
                console.print(Text(f"  {name.replace('_', ' ')}: {value}", style="dim"))
        if said.rows is not None:
            console.print(_table(said.rows, said.columns))
        if said.text is not None:
            if self.draw:
                sys.stdout.write(qr.terminal_art(said.text))
            console.print(Text(said.text))

    def check(self) -> None:
        """Refuse a picture that cannot be written before anything is signed or recorded."""
        if self.png is not None and not os.access(self.png.parent, os.W_OK):
            raise AgentError("edge.file_unwritable", f"no picture can be written to {self.png}")

    def _pictured(self, said: Said) -> Said:
        if said.text is None or self.png is None:
            return said
        try:
            write_png(self.png, said.text)
        except AgentError as e:
            # What happened has happened: a missing picture must not hide it.
            return replace(said, detail=f"{said.detail} {e.message}".strip())
        return said


def _table(rows: list[dict[str, object]], columns: tuple[str, ...] | None) -> Table | Text:
    if not rows:
        return Text("  nothing here", style="dim")
    names = columns or tuple(rows[0])
    table = Table(show_edge=False, pad_edge=False)
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if row[name] is None else str(row[name])) for name in names))
    return table


def moment(at_s: int | None) -> str | None:
    """Give a time as ISO 8601 with its offset."""
    if at_s is None:
        return None
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat()
    except (ValueError, OverflowError):
        return f"second {at_s}"  # beyond the calendar; OV1 allows it


def refused(verdict: Verdict, detail: str = "", **facts: object) -> Said:
    return Said(
        ok=False,
        code=str(verdict),
        line=f"NOT PAID: {operator_sentence(verdict)}",
        look=Look.NOT_PAID,
        detail=detail,
        facts={"paid": False, **facts},
    )


def failed(code: str, message: str) -> Said:
    """Say what was technical: not about the payment, and nothing was paid by it."""
    return Said(ok=False, code=code, line=message, facts={"paid": False})


TROUBLES: Final = (VerdictError, Refused, AgentError, KeyStoreError, sqlite3.Error, OSError)
"""What an act may raise and a person must hear of."""


def trouble(error: Exception) -> Said:
    """Say what one of TROUBLES was about."""
    match error:
        case VerdictError():
            return refused(error.verdict, error.detail)
        case Refused():
            return refused(error.verdict)
        case AgentError() | KeyStoreError():
            return failed(error.code, str(error))
        case _:
            return failed("edge.store_failed", f"the agent's files failed: {error}")


def scanned(terminal: Terminal, result: Scanned) -> Said:
    """Say what a scan came to; nothing but a paid sale looks paid."""
    amount = None if result.amount is None else format_amount(result.amount, result.ccy or "INR")
    facts: dict[str, object] = {
        "paid": result.paid,
        "amount": None if result.amount is None else str(result.amount),
        "currency": result.ccy,
    }
    if result.paid:
        again = result.verdict is Verdict.ALREADY_ACCEPTED
        return Said(
            ok=True,
            code=str(result.verdict),
            line=f"PAID {amount}" + (" (this sale, shown again)" if again else ""),
            look=Look.PAID,
            detail=f"{terminal.certificate.name}: recorded here; the code below is the receipt.",
            text=result.receipt,
            facts=facts,
        )
    if result.verdict is Verdict.ALREADY_ACCEPTED and result.earlier is not None:
        row = result.earlier
        facts |= {"paid_at": moment(row.accepted_at_s), "sale": row.nonce.hex()}
        return Said(
            ok=False,
            code=str(result.verdict),
            line=f"NOT THIS SALE: this code paid an earlier sale of {amount}, "
            f"at {moment(row.accepted_at_s)}",
            look=Look.PAID_BEFORE,
            detail="Nothing new was recorded. This sale is NOT paid by it.",
            facts=facts,
        )
    detail = ""
    if result.verdict is Verdict.VOIDED:
        detail = "The code below is the cancellation."
    elif result.voidable:
        detail = "To give the payer the cancellation: terminal void with the same code."
    said = refused(result.verdict, detail, **{**facts, "voidable": result.voidable})
    return said if result.void is None else replace(said, text=result.void)
