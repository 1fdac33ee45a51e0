"""`hundi-edge payer …`: enrol, take an allowance, pay, and see or give back what is left."""

import asyncio
import socket

import click

from edge_agent import allowances
from edge_agent.amounts import format_amount, parse_amount
from edge_agent.cli_shape import code_output, command
from edge_agent.codes import read_code
from edge_agent.enrol import enrol_payer
from edge_agent.errors import AgentError
from edge_agent.home import Home
from edge_agent.payer import Offer, Payer
from edge_agent.server import Server
from edge_agent.show import Look, Said, Screen, moment
from offline.wire import SignedVoucher

_token = click.option(
    "--token", envvar="HUNDI_SESSION", required=True, help="Session token (or HUNDI_SESSION)."
)


@click.group()
def payer() -> None:
    """A payer's device."""


@payer.command()
@click.option("--server", required=True, help="The server's address, https://…")
@_token
@click.option("--label", default=None, help="What to call this device.")
@click.option(
    "--fingerprint", default=None, help="The root key's fingerprint, if you were told it."
)
@command
def enrol(
    home: Home, _screen: Screen, server: str, token: str, label: str | None, fingerprint: str | None
) -> Said:
    """Link this device to the session's payer."""

    async def run() -> Said:
        async with Server(server, token=token) as door:
            with home.locked("payer"), home.payer_store(create=True, held=True) as store:
                done = await enrol_payer(
                    store,
                    home.keys("payer", create=True),
                    door,
                    label=label or socket.gethostname() or "device",
                    fingerprint=fingerprint,
                    clock=home.clock,
                )
        return Said(
            ok=True,
            code="edge.enrolled",
            line=f"This device pays for {done.name}. No money has moved.",
            look=Look.FINE,
            facts={"name": done.name, "device": done.device},
        )

    return asyncio.run(run())


@payer.command()
@_token
@click.option("--total", default="1000", show_default=True, help="How much to set aside.")
@click.option("--each", default="500", show_default=True, help="The most that one payment may be.")
@click.option("--currency", default="INR", show_default=True)
@command
def allowance(
    home: Home, _screen: Screen, token: str, total: str, each: str, currency: str
) -> Said:
    """Take an allowance: money set aside on the server, to be spent offline. Needs a second factor."""
    cap_total, cap_each = parse_amount(total, currency), parse_amount(each, currency)
    if cap_each > cap_total:
        raise AgentError("edge.amount_invalid", "one payment may not be above the whole allowance")

    async def run(device: Payer) -> Said:
        async with Server(device.me.server, token=token) as door:
            a = await allowances.take_allowance(
                device, door, ccy=currency, cap_total=cap_total, cap_each=cap_each
            )
        return Said(
            ok=True,
            code="edge.allowance_taken",
            line=f"{format_amount(a.cap_total, a.ccy)} is set aside and may be spent offline.",
            look=Look.FINE,
            facts={
                "aid": a.aid.hex(),
                "cap_total": str(a.cap_total),
                "cap_each": str(a.cap_each),
                "currency": a.ccy,
                "spend_until": moment(a.spend_until),
            },
        )

    with home.payer() as device:
        return asyncio.run(run(device))


@payer.command()
@click.argument("request_code")
@click.option("--yes", is_flag=True, help="The payer is present and has agreed.")
@code_output
@command
def pay(home: Home, screen: Screen, request_code: str, yes: bool) -> Said:
    """Pay a request: an OV1R text in single quotes, a text file, a picture of the QR code, or -.

    Works offline.
    """
    text = read_code(request_code)
    with home.payer() as device:
        device.recover()
        offer = device.offer(text)
        if offer.paid is None and not yes:
            _confirm(offer, screen)
        return _paid(offer, device.pay(text))


def _confirm(offer: Offer, screen: Screen) -> None:
    if screen.as_json:
        raise AgentError("edge.not_confirmed", "with --json the payer's consent is --yes")
    late = " (this request is old; is it still on the screen?)" if offer.stale else ""
    question = f"Pay {format_amount(offer.amount, offer.ccy)} to {offer.payee_name}{late}?"
    try:
        agreed = click.confirm(question, default=False)
    except click.Abort:
        agreed = False
    if not agreed:
        raise AgentError("edge.not_confirmed", "Nothing was paid: the payer did not agree.")


def _paid(offer: Offer, signed: SignedVoucher) -> Said:
    amount, again = format_amount(offer.amount, offer.ccy), offer.paid is not None
    line = f"Signed {amount} for {offer.payee_name}"
    return Said(
        ok=True,
        code="edge.voucher_shown_again" if again else "edge.voucher_signed",
        line=line + (": the same voucher as before, nothing more was spent." if again else "."),
        look=Look.FINE,
        detail="It is paid when the shop's terminal has taken the code below.",
        text=signed.to_text(),
        facts={
            "payee": offer.payee_name,
            "amount": str(offer.amount),
            "currency": offer.ccy,
            "counter": signed.voucher.counter,
            "cum": str(signed.voucher.cum),
            "stale_request": offer.stale,
        },
    )


@payer.command()
@click.argument("proof_code")
@click.option("--hand-in", is_flag=True, help="Hand a cancellation to the server now.")
@command
def keep(home: Home, _screen: Screen, proof_code: str, hand_in: bool) -> Said:
    """Keep a terminal's receipt (OV1P) or cancellation (OV1X) with the voucher that it speaks of."""
    text = read_code(proof_code)
    void = text.startswith("OV1X")

    async def give(url: str) -> str:
        async with Server(url) as door:
            return await door.hand_in_void(text)

    with home.payer() as device:
        row = device.keep(text)
        state = asyncio.run(give(device.me.server)) if void and hand_in else None
    amount = format_amount(row.voucher.amount, row.allowance.allowance.ccy)
    line = (
        f"{row.payee_name} gives {amount} back; it returns after the next sync."
        if void
        else f"{row.payee_name} has taken {amount}."
    )
    return Said(
        ok=True,
        code="edge.void_kept" if void else "edge.receipt_kept",
        line=line,
        facts={"state": state},
    )


@payer.command(name="list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@command
def list_(home: Home, _screen: Screen, limit: int) -> Said:
    """List the vouchers that this device reserved and signed."""
    with home.payer_store() as store:
        rows = store.vouchers(limit)
    return Said(
        ok=True,
        code="edge.list",
        line=f"Vouchers shown: {len(rows)}",
        rows=[
            {
                "counter": row.voucher.counter,
                "payee": row.payee_name,
                "amount": format_amount(row.voucher.amount, row.allowance.allowance.ccy),
                "state": "reserved" if row.sig is None else "signed",
                "proof": None if row.proof is None else row.proof[:4],
                "witnessed": row.witnessed,
                "at": moment(row.reserved_at_s),
            }
            for row in rows
        ],
    )


@payer.command()
@command
def status(home: Home, _screen: Screen) -> Said:
    """Say what may still be spent offline."""
    with home.payer_store() as store:
        me, row = store.me(), store.usable()
        if me is None:
            raise AgentError("edge.not_enrolled", "this home holds no enrolled device")
    facts: dict[str, object] = {"name": me.name, "device": me.device, "server": me.server}
    if row is None:
        return Said(ok=True, code="edge.status", line="Nothing can be spent offline.", facts=facts)
    a = row.signed.allowance
    over = row.state != "active" or home.clock.now_ms() // 1000 > a.spend_until
    left = 0 if over else a.cap_total - row.cum
    facts |= {
        "state": row.state,
        "left": str(left),
        "cap_each": str(a.cap_each),
        "counter": row.counter,
        "spend_until": moment(a.spend_until),
    }
    return Said(
        ok=True,
        code="edge.status",
        line=f"{format_amount(left, a.ccy)} may be spent offline.",
        facts=facts,
    )


@payer.command()
@_token
@command
def surrender(home: Home, _screen: Screen, token: str) -> Said:
    """Give the allowance back; what was not spent returns when the server closes it."""

    async def run(device: Payer) -> Said:
        async with Server(device.me.server, token=token) as door:
            done = await allowances.surrender(device, door)
        return Said(
            ok=True,
            code="edge.allowance_surrendered",
            line=f"Given back: {format_amount(done.unspent, done.ccy)} was not spent here.",
            look=Look.FINE,
            facts={"state": done.state, "unspent": str(done.unspent)},
        )

    with home.payer() as device:
        return asyncio.run(run(device))


@payer.command()
@_token
@command
def witness(home: Home, _screen: Screen, token: str) -> Said:
    """Show the server what this device signed, so that nothing is lost with a shop's terminal."""

    async def run(device: Payer) -> Said:
        async with Server(device.me.server, token=token) as door:
            recorded = await allowances.witness(device, door)
        return Said(
            ok=True,
            code="edge.witnessed",
            line=f"The server recorded {recorded} vouchers.",
            look=Look.FINE,
            facts={"recorded": recorded},
        )

    with home.payer() as device:
        return asyncio.run(run(device))
