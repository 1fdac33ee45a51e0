"""The benches of payments, each with the smallest load that it can have: that they still run."""

from collections.abc import AsyncIterator

import pytest

from bench import (
    payments,
    payments_faults,
    payments_profile,
    payments_refunds,
    payments_run,
    payments_upi,
)
from bench.cluster import cluster
from bench.figures import Figure


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with cluster() as address:
        yield address


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(payments, "CALLERS", 20)


def counted(figures: list[Figure]) -> list[Figure]:
    """Every row has measured something, of so many."""
    assert all(one.n > 0 and one.value >= 0 for one in figures)
    return figures


async def test_the_engine_beside_its_floor(url) -> None:
    rows = counted(await payments.measure(url, seconds=0.2, parties=50))
    assert [one.name.split(",")[0] for one in rows if one.ratio and one.goal] == ["Confirm", "Pay"]


async def test_the_profile_names_functions_and_statements(url, capsys) -> None:
    await payments_profile.profile(url, seconds=0.2, parties=50)
    said = capsys.readouterr().out
    assert "confirm_many" in said
    assert "INSERT INTO idempotency" in said


async def test_upi_by_open_loop(url) -> None:
    counted(await payments_upi.measure(url, seconds=0.2, people=20))


async def test_refunds_until_their_webhooks(url) -> None:
    counted(await payments_refunds.measure(url, seconds=0.2, people=20))


async def test_an_unreliable_rail(url) -> None:
    [success, _] = await payments_faults.faults(url, seconds=0.5, people=20)
    assert 90 <= success.value <= 100


async def test_an_outage_loses_no_more_than_what_was_sent_to_it(url) -> None:
    [lost] = counted(await payments_faults.outage(url, seconds=1, people=20))
    assert lost.value < 50


def test_graphql_s_rows_have_the_goals_of_payments() -> None:
    rows = payments_run.over_graphql(60)
    held = [one for one in rows if one.holds is not None]
    assert [one.name for one in held] == [
        f"GraphQL confirm over book, {clients} clients" for clients in (16, 64)
    ]
