"""`hundi events`: how far the log's consumers are, and its events as CloudEvents."""

import sys
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

import click

from bff.cli.waiting import waits
from server_core.app import Core, open_core
from server_core.errors import not_found
from server_core.events import cloudevents, cursors, store, tail
from server_core.events import lag as lags
from server_core.events.model import Event
from server_core.events.relay import cursor_of
from server_core.events.remotes import Target
from server_core.settings import Settings

PAGE: Final = 1000


@click.group()
def events() -> None:
    """The event log and its way out."""


@events.command()
@waits
async def lag() -> None:
    """Say how far each stored cursor is behind the log; exit 1 when one is ahead of it."""
    async with open_core(Settings.read()) as core, core.db.reader() as reader:
        found, head = await lags.read(reader), await store.head(reader)
    click.echo(f"the log ends at {head}")
    for one in found:
        click.echo(
            f"{one.consumer}: at {one.position}, {one.events} behind, oldest {one.oldest_ms} ms"
        )
    if any(one.events < 0 for one in found):
        sys.exit(1)


@events.command()
@click.option("--aggregate", required=True, help="A public id (pay_…) or a UUID.")
@click.option("--from", "sequence", type=click.IntRange(1), required=True, help="Its sequence.")
@click.option(
    "--to",
    type=click.Choice(["stdout", *(one.value for one in Target)]),
    default="stdout",
    show_default=True,
)
@waits
async def replay(*, aggregate: str, sequence: int, to: str) -> None:
    """Print one aggregate's events again as CloudEvents, or send them again, with their ids.

    Sent again are only events that the relay has sent already: the rest comes by itself, and
    must not come before what precedes it.
    """
    async with open_core(Settings.read()) as core:
        made = cloudevents.aggregate(aggregate)
        if to == "stdout":
            found = await _print_all(core, made, sequence)
        else:
            sent, later = await _send_again(core, Target(to), made, sequence)
            found = sent + later
            click.echo(f"sent {sent} again to {to}; {later} are still to come by the relay")
    if not found:
        raise not_found("events.none", f"{aggregate} has no event from sequence {sequence} on")


@events.command(name="tail")
@click.option("--after", type=click.IntRange(0), help="Begin after this seq; default: from now.")
@waits
async def tail_(*, after: int | None) -> None:
    """Print every event as it is committed, one CloudEvent a line, until Ctrl-C."""
    async with open_core(Settings.read()) as core:
        await tail.follow(core.db, _Lines(core.db.cell), after)


class _Lines:
    """A bus whose far end is standard output."""

    def __init__(self, cell: str) -> None:
        self._cell = cell

    async def publish(self, events: list[Event]) -> None:
        for event in events:
            click.echo(cloudevents.structured(event, self._cell))


async def _pages(
    core: Core, aggregate: UUID, sequence: int
) -> AsyncIterator[tuple[list[Event], dict[str, int]]]:
    """Page by page, each with the cursors as they stood after it was read."""
    while True:
        async with core.db.reader() as reader:
            page = await store.from_sequence(reader, aggregate, sequence, PAGE)
            positions = await cursors.positions(reader)
        yield page, positions
        if len(page) < PAGE:
            return
        sequence = page[-1].sequence + 1


async def _print_all(core: Core, aggregate: UUID, sequence: int) -> int:
    said = _Lines(core.db.cell)
    count = 0
    async for page, _ in _pages(core, aggregate, sequence):
        await said.publish(page)
        count += len(page)
    return count


async def _send_again(
    core: Core, target: Target, aggregate: UUID, sequence: int
) -> tuple[int, int]:
    """How many were sent, and how many the relay has not reached yet. Raises events.unsent."""
    sent = later = 0
    bus = core.remote(target)
    try:
        await bus.ready()
        async for page, positions in _pages(core, aggregate, sequence):
            reached = positions.get(cursor_of(target), 0)
            due = [event for event in page if event.seq <= reached]
            later += len(page) - len(due)
            if due:
                await bus.publish(due)
                sent += len(due)
    finally:
        await bus.close()
    return sent, later
