"""What is read when somebody scrapes: how rails, queues and the database stand, set as gauges."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from prometheus_client import Gauge

from server_core.app import Core
from server_core.db.work import Reader, Row
from server_core.errors import DomainError
from server_core.events import lag
from server_core.events import store as events
from server_core.events.lag import Lag
from server_core.idempotency import store as keys
from server_core.payments import standing as payments
from server_core.payments.model import OPEN
from server_core.rails.breaker import State
from server_core.rails.connected import Rails
from server_core.refunds import store as refunds
from server_core.strays import store as strays
from server_core.telemetry import metrics
from server_core.terminals import store as terminals
from server_core.webhooks import messages

MOST: Final = 10_000
"""Rows that one reading walks at most: where more wait, the exact number is not what matters."""
MOST_EACH: Final = 1_000
"""The same of one webhook endpoint."""
SILENT_MS: Final = 2 * 24 * 3600 * 1000
"""A terminal that has not synced for so long: in one more day it refuses to sell offline."""
PATIENCE_S: Final = 5
"""For PostgreSQL; whoever scrapes waits 10 s as a rule, and is to have the counters at least."""

_log = structlog.get_logger("hundi.metrics")


async def take(core: Core) -> str:
    """Everything that there is to say now. What the database knows is left out while it is away."""
    _rails(core.rails)
    for queue, waiting in core.confirmations.waiting.items():
        metrics.QUEUE.labels(queue).set(waiting)
    try:
        async with asyncio.timeout(PATIENCE_S), core.db.reader() as reader:
            standing = await _standing(reader)
            lags, head = await lag.read(reader), await events.head(reader)
            opened = await payments.open_by_rail(reader, MOST)
    except (DomainError, TimeoutError) as error:
        _log.warning("metrics.unread", error=repr(error))
        _forget()
        metrics.DATABASE_UP.labels(core.db.cell).set(0)
    else:
        # From here on nothing awaits: two who scrape at once never mix their readings.
        _forget()
        metrics.DATABASE_UP.labels(core.db.cell).set(1)
        for gauge, value in standing.items():
            gauge.labels(core.db.cell).set(value)
        _lag(core.db.cell, lags, head)
        _attempts(core, opened, reader.now_ms)
    return metrics.text()


def _forget() -> None:
    for gauge in metrics.READ:
        gauge.clear()


def _rails(rails: Rails) -> None:
    for rail, state, share in rails.health.states(rails.clock.monotonic_ms()):
        metrics.RAIL_SUCCESS.labels(rail).set(share)
        for one in State:
            metrics.RAIL_STATE.labels(rail, one).set(one is state)


async def _standing(reader: Reader) -> Mapping[Gauge, float]:
    """The gauges of the cell as a whole; ages in seconds, 0 when there is nothing."""
    now_ms = reader.now_ms
    refunding, oldest_refund = await refunds.standing(reader, MOST)
    astray, oldest_stray = await strays.standing(reader, MOST)
    due, first_due = await messages.standing(reader, MOST_EACH)
    overdue, last_sync = await terminals.standing(reader, now_ms - SILENT_MS, MOST)
    return {
        metrics.REFUNDS_OPEN: refunding,
        metrics.REFUNDS_OLDEST: _age_s(oldest_refund, now_ms),
        metrics.CONFLICTED: await payments.count_conflicted(reader, MOST),
        metrics.STRAYS_OPEN: astray,
        metrics.STRAYS_OLDEST: _age_s(oldest_stray, now_ms),
        metrics.WEBHOOKS_DUE: due,
        metrics.WEBHOOKS_OLDEST: _age_s(first_due, now_ms),
        metrics.TERMINALS_OVERDUE: overdue,
        metrics.SYNC_OLDEST: _age_s(last_sync, now_ms),
        metrics.KEYS_HELD: await keys.estimate(reader),
    }


def _lag(cell: str, lags: list[Lag], head: int) -> None:
    metrics.EVENT_HEAD.labels(cell).set(head)
    for one in lags:
        metrics.EVENT_POSITION.labels(cell, one.consumer).set(one.position)
        metrics.EVENT_LAG.labels(cell, one.consumer).set(one.events)
        metrics.EVENT_LAG_SECONDS.labels(cell, one.consumer).set(one.oldest_ms / 1000)


def _attempts(core: Core, opened: list[Row], now_ms: int) -> None:
    """Every connected rail has its series, at 0 too: an alert compares with what is there."""
    found = {(row["rail"], row["state"]): row for row in opened}
    every = {(rail, str(state)) for rail in core.rails.by_name for state in OPEN}
    for rail, state in sorted(every | found.keys()):
        row = found.get((rail, state))
        metrics.ATTEMPTS_OPEN.labels(core.db.cell, rail, state).set(row["many"] if row else 0)
        metrics.ATTEMPTS_OLDEST.labels(core.db.cell, rail, state).set(
            _age_s(row["since"] if row else None, now_ms)
        )


def _age_s(since_ms: int | None, now_ms: int) -> float:
    return 0 if since_ms is None else max(0, now_ms - since_ms) / 1000
