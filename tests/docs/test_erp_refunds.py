"""The ERP's example: the same books in whatever order, and however often, its messages come."""

import importlib.util
import itertools
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ERP = Path(__file__).parents[2] / "docs" / "examples" / "erp_refunds.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("erp_refunds", ERP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


erp = load()


def message(name: str, subject: str, sequence: int, **data: Any) -> tuple[str, bytes]:
    event = {
        "type": name, "subject": subject, "sequence": sequence, "version": 1,
        "data": {"id": subject, "currency": "INR"} | data,
    }  # fmt: skip
    return f"msg_{subject}_{sequence}", json.dumps(event).encode()


def back(subject: str, sequence: int, name: str, state: str, amount: str) -> tuple[str, bytes]:
    return message(f"refund.{name}", subject, sequence, payment="pay_1", state=state, amount=amount)


PAID_IN_PARTS = [
    message("payment.captured", "pay_1", 3, state="requires_capture", captured="4000"),
    message("payment.succeeded", "pay_1", 5, state="succeeded", captured="10000"),
]
DONE = [
    back("ref_a", 1, "created", "pending", "2500"), back("ref_a", 2, "succeeded", "succeeded", "2500")
]  # fmt: skip
FAILED = [
    back("ref_b", 1, "created", "pending", "3000"), back("ref_b", 2, "failed", "failed", "3000")
]  # fmt: skip
STORY = [*PAID_IN_PARTS, *DONE, *FAILED]
BOOKS = [("pay_1", "INR", 7_500)]


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = erp.open_books(str(tmp_path / "books.db"))
    yield opened
    opened.close()


def fresh(books: sqlite3.Connection) -> None:
    for table in ("posting", "subject", "inbox"):
        books.execute(f"DELETE FROM {table}")


def invoices(books: sqlite3.Connection) -> list[tuple[str, str, int]]:
    return books.execute("SELECT payment, currency, balance FROM invoice").fetchall()


def states(books: sqlite3.Connection) -> dict[str, str]:
    return dict(books.execute("SELECT id, state FROM subject").fetchall())


def test_every_order_ends_in_the_same_books(books: sqlite3.Connection) -> None:
    for order in itertools.permutations(STORY):
        fresh(books)
        books.execute("PRAGMA synchronous = OFF")
        assert all(erp.take(books, *one) for one in order)
        assert invoices(books) == BOOKS
        assert states(books) == {"pay_1": "succeeded", "ref_a": "succeeded", "ref_b": "failed"}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(STORY), max_size=30))
def test_repeats_change_nothing(books: sqlite3.Connection, come: list[tuple[str, bytes]]) -> None:
    fresh(books)
    seen = set()
    for one in [*come, *STORY]:
        assert erp.take(books, *one) is (one[0] not in seen)
        seen.add(one[0])
    assert invoices(books) == BOOKS


def test_an_event_at_a_second_endpoint_is_another_message_with_no_effect(books) -> None:
    for one in STORY:
        erp.take(books, *one)
        erp.take(books, f"{one[0]}_at_2", one[1])
    assert invoices(books) == BOOKS


def test_on_the_way_the_balance_is_without_what_may_still_go_back(books) -> None:
    said = []
    for one in STORY:
        erp.take(books, *one)
        said.append(invoices(books)[0][2])
    assert said == [4_000, 10_000, 7_500, 7_500, 4_500, 7_500]


def test_the_report_names_what_somebody_must_look_at(books) -> None:
    for one in FAILED:
        erp.take(books, *one)
    assert erp.report(books) == [
        "pay_1 INR 0",
        "ref_b of pay_1 failed: the customer has nothing",
        "pay_1 is known by its refunds alone",
    ]
    for one in PAID_IN_PARTS:
        erp.take(books, *one)
    assert erp.report(books) == [
        "pay_1 INR 10000", "ref_b of pay_1 failed: the customer has nothing",
    ]  # fmt: skip


def changed(known: tuple[str, bytes], **changes: Any) -> tuple[str, bytes]:
    event = json.loads(known[1])
    event["data"] |= changes.pop("data", {})
    return known[0], json.dumps(event | changes).encode()


@pytest.mark.parametrize(
    "wrong",
    [
        changed(DONE[0], version=2),
        changed(DONE[0], data={"amount": 2500}),
        changed(DONE[0], data={"amount": "-1"}),
        changed(DONE[0], data={"amount": "25.00"}),
        changed(PAID_IN_PARTS[0], data={"captured": None}),
        changed(DONE[0], data={"currency": ["INR"]}),
        ("msg_x", b"[]"),
        ("msg_x", b'{"type": "refund.created"}'),
        ("msg_x", b'{"type": "refund.created", "version": 1, "data": {"amount": "1"}}'),
    ],
)
def test_what_cannot_be_read_is_not_taken_and_so_not_lost(books, wrong) -> None:
    with pytest.raises((erp.UnreadableError, sqlite3.Error)):
        erp.take(books, *wrong)
    assert books.execute("SELECT count(*) FROM inbox").fetchone() == (0,)
    assert invoices(books) == []
    assert erp.take(books, *STORY[0])


def test_what_no_book_is_kept_of_is_taken_and_kept(books) -> None:
    other = message("voucher.settled", "vch_1", 1)
    assert erp.take(books, *other)
    assert not erp.take(books, *other)
    assert erp.take(books, *changed(message("payment.created", "pay_2", 1), version=7))
    assert invoices(books) == []


def test_the_page_s_members_are_those_that_leave() -> None:
    from server_core.webhooks.catalogue import KINDS

    text = (ERP.parents[1] / "erp.md").read_text()
    for name in (*sorted(erp.PAID), *sorted(erp.BACK)):
        assert f"`{name}`" in text
        [payee] = [one for one in KINDS[name].audiences if one.field == "payee"]
        for member in payee.shows:
            assert f"`{member}`" in text, f"{name} shows {member}"
