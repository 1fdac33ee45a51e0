"""`hundi webhooks`: the endpoints of every merchant, from the operator's side."""

from datetime import datetime

import click

from bff.cli.operator import OPERATOR, party_of
from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.ids import parse, public
from server_core.settings import Settings
from server_core.webhooks import catalogue, reading, service
from server_core.webhooks.model import Draft
from server_core.webhooks.reading import Replayed


@click.group()
def webhooks() -> None:
    """Merchants' webhook endpoints."""


@webhooks.command("list")
@click.option("--party", help="A party's id (pty_…) or its exact name; all without it.")
@waits
async def list_(party: str | None) -> None:
    """Print endpoints: id, owner, state with its reason, events, URL."""
    async with open_core(Settings.read()) as core:
        owner = (await party_of(core, party)).id if party else None
        async with core.db.reader() as reader:
            if owner is None:
                found = await service.every(reader, OPERATOR)
            else:
                found = await service.mine(reader, OPERATOR, owner)
    for one in found:
        state = f"{one.state}({one.reason})" if one.reason else one.state
        failing = f" failing since {catalogue.iso(one.failing_since)}" if one.failing_since else ""
        owned, events = public("pty", one.owner), ",".join(one.filters)
        click.echo(f"{public('ep', one.id)} {owned} {state} {events} {one.url}{failing}")


@webhooks.command()
@click.option("--party", required=True, help="A party's id (pty_…) or its exact name.")
@click.option("--url", required=True, help="https, port 443 or from 1024.")
@click.option("--event", "events", multiple=True, default=("*",), help="May be given many times.")
@click.option("--description", default="")
@waits
async def add(party: str, url: str, events: tuple[str, ...], description: str) -> None:
    """Make an endpoint; print its id and its secret, this once."""
    settings = Settings.read()
    async with open_core(settings) as core:
        owner = await party_of(core, party)
        await core.courier.check(url)
        async with core.db.work() as work:
            made = await service.create(
                work,
                core.fields,
                core.entropy,
                OPERATOR,
                Draft(url=url, events=list(events), description=description),
                key=str(work.ids.new()),
                owner=owner.id,
                allow_private=settings.allow_private_webhooks,
            )
    click.echo(f"{public('ep', made.endpoint.id)} {made.secret}")


@webhooks.command()
@click.argument("endpoint", required=False)
@click.option("--house", is_flag=True, help="The house's ed25519 key, instead of an endpoint's.")
@waits
async def rotate(endpoint: str | None, *, house: bool) -> None:
    """Print a new secret of an endpoint; the old one signs beside it for 24 hours."""
    if (endpoint is None) is not house:
        raise click.UsageError("name an endpoint, or --house")
    async with open_core(Settings.read()) as core, core.db.work() as work:
        if endpoint is None:
            key = await service.rotate_key(work, core.fields, core.entropy, OPERATOR)
            said = key.kid
        else:
            made = await service.rotate(
                work, core.fields, core.entropy, OPERATOR, parse("ep", endpoint),
                key=str(work.ids.new()),
            )  # fmt: skip
            said = made.secret
    click.echo(said)


@webhooks.command()
@click.argument("endpoint")
@click.option("--message", help="One message (msg_…).")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="2026-11-23T09:00:00+0530"
)
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--missing", is_flag=True, help="Only what was never taken.")
@waits
async def replay(
    endpoint: str,
    message: str | None,
    since: datetime | None,
    until: datetime | None,
    *,
    missing: bool,
) -> None:
    """Send again: one message, a stretch of time, or all that is missing; print how many."""
    stretch = since is not None or until is not None or missing
    if (message is None) is not stretch:
        raise click.UsageError("name --message, or --since/--until, or --missing")
    identity, count = parse("ep", endpoint), 0
    async with open_core(Settings.read()) as core:
        if message is not None:
            async with core.db.work() as work:
                one = parse("msg", message, field="message")
                count = (await reading.replay_one(work, OPERATOR, identity, one)).count
        else:
            made = Replayed(count=0, more=True)
            while made.more:
                async with core.db.work() as work:
                    made = await reading.replay(
                        work,
                        OPERATOR,
                        identity,
                        since=_ms(since, 0),
                        until=_ms(until, reading.FOREVER),
                        missing=missing,
                        after=made.last,
                    )
                count += made.count
    click.echo(f"{count} go out again")


@webhooks.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=100)
@waits
async def dead(limit: int) -> None:
    """Print messages whose schedule is exhausted: id, endpoint, type, attempts, when."""
    async with open_core(Settings.read()) as core, core.db.reader() as reader:
        found = await reading.dead(reader, OPERATOR, limit)
    for one in found:
        ended = catalogue.iso(one.done_at or one.created_at)
        click.echo(
            f"{public('msg', one.id)} {public('ep', one.endpoint)} {one.type} {one.attempts} {ended}"
        )


def _ms(moment: datetime | None, otherwise: int) -> int:
    return otherwise if moment is None else int(moment.timestamp() * 1000)
