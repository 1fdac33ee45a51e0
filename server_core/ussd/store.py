"""Phone lines, terminals' codes and taken challenges: their rows and SQL."""

from typing import Final
from uuid import UUID

from msgspec.structs import astuple
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint
from sqlmodel import SQLModel

from server_core.db import columns as col
from server_core.db.work import Reader, Work
from server_core.ussd.model import Line, Payment


class LineRow(SQLModel, table=True):
    """A number by its blind index, and its PIN, hashed."""

    __tablename__ = "ussd_line"
    __table_args__ = (Index("ussd_line_party", "party"),)
    number: bytes = col.blob(primary=True)
    party: UUID = col.uuid()
    pin: str | None = col.string(null=True)
    wrong: int = col.big()
    locked_until: int = col.big()


class CodeRow(SQLModel, table=True):
    """The number that a terminal's code is made of; one terminal's for ever."""

    __tablename__ = "ussd_code"
    __table_args__ = (Index("ussd_code_terminal", "terminal", unique=True),)
    number: int = col.big(primary=True)
    terminal: bytes = col.blob()


class PaymentRow(SQLModel, table=True):
    """A terminal's challenge is one payer's, once."""

    __tablename__ = "ussd_payment"
    __table_args__ = (
        PrimaryKeyConstraint("terminal", "day", "challenge", name="ussd_payment_pkey"),
        CheckConstraint("amount > 0", name="ussd_payment_amount"),
    )
    id: UUID = col.uuid()
    terminal: bytes = col.blob()
    day: int = col.big()
    challenge: str = col.string()
    party: UUID = col.uuid()
    amount: int = col.big()


_LINE: Final = "number, party, pin, wrong, locked_until"


async def insert_line(work: Work, line: Line) -> bool:
    """Whether the number was free."""
    return bool(
        await work.execute(
            f"INSERT INTO ussd_line ({_LINE}) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            *astuple(line),
        )
    )


async def delete_line(work: Work, number: bytes) -> bool:
    return bool(await work.execute("DELETE FROM ussd_line WHERE number = $1", number))


async def line(reader: Reader, number: bytes) -> Line | None:
    row = await reader.row(f"SELECT {_LINE} FROM ussd_line WHERE number = $1", number)
    return Line(**dict(row)) if row else None


async def lock_line(work: Work, number: bytes) -> Line | None:
    row = await work.row(f"SELECT {_LINE} FROM ussd_line WHERE number = $1 FOR UPDATE", number)
    return Line(**dict(row)) if row else None


async def save_line(work: Work, line: Line) -> None:
    await work.execute(
        "UPDATE ussd_line SET pin = $3, wrong = $4, locked_until = $5"
        " WHERE number = $1 AND party = $2",
        *astuple(line),
    )


async def insert_code(work: Work, number: int, terminal: bytes) -> None:
    """Nothing happens when the number or the terminal has its other half already."""
    await work.execute(
        "INSERT INTO ussd_code (number, terminal) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        number,
        terminal,
    )


async def code_of(reader: Reader, terminal: bytes) -> int | None:
    found = await reader.value("SELECT number FROM ussd_code WHERE terminal = $1", terminal)
    return None if found is None else int(found)


async def terminal_of(reader: Reader, number: int) -> bytes | None:
    found = await reader.value("SELECT terminal FROM ussd_code WHERE number = $1", number)
    return None if found is None else bytes(found)


async def take(work: Work, one: Payment) -> Payment:
    """Take the challenge; whoever had it before keeps it, and is given."""
    await work.execute(
        "INSERT INTO ussd_payment (id, terminal, day, challenge, party, amount)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (terminal, day, challenge) DO NOTHING",
        *astuple(one),
    )
    row = await work.row(
        "SELECT id, terminal, day, challenge, party, amount FROM ussd_payment"
        " WHERE terminal = $1 AND day = $2 AND challenge = $3 FOR UPDATE",
        one.terminal,
        one.day,
        one.challenge,
    )
    return Payment(**dict(row or {}))


async def let_go(work: Work, one: Payment) -> None:
    """Nothing was paid by it: the challenge is free again."""
    await work.execute("DELETE FROM ussd_payment WHERE id = $1", one.id)
