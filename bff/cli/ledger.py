"""`hundi ledger`: prove that the books are right, and give proofs that need no database."""

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click
from rich.console import Console

from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.errors import invalid
from server_core.events import store as events
from server_core.ledger import audit, rebuild
from server_core.ledger.model import Finding
from server_core.seals import receipts
from server_core.seals import service as seals
from server_core.settings import Settings


@click.group()
def ledger() -> None:
    """The double-entry ledger."""


@ledger.command()
@click.option("--head", "kept", help="A head that was kept, SIZE:ROOT as `hundi ledger head` says.")
@waits
async def verify(*, kept: str | None) -> None:
    """Check every law and every seal on one snapshot; exit 1 names the first bad row."""
    head = None if kept is None else _kept(kept)
    async with open_core(Settings.read()) as core, core.db.snapshot() as reader:
        findings = await audit.findings(reader)
        findings += [one async for one in audit.misnamed(reader)]
        gap = await events.gap(reader)
        if gap is not None:
            findings.append(Finding(law="events are numbered without a gap", row=gap))
        altered, sealed = await _watch(
            "seals", seals.findings(reader, core.journal.public, core.db.cell, head)
        )
        counts = await audit.counts(reader)
    _tell(findings + altered)
    click.echo(
        f"the ledger is right: {len(audit.LAWS) + 2} laws hold over {counts['accounts']} accounts,"
        f" {counts['transfers']} transfers, {counts['entries']} entries; {sealed} rows are as they"
        " were sealed"
    )


@ledger.command("rebuild")
@click.option("--check", is_flag=True, required=True, help="Compare, and change nothing.")
@waits
async def rebuild_(*, check: bool) -> None:
    """Replay the journal from the first transfer and compare every entry and every balance."""
    if not check:
        raise click.UsageError("only --check is there: history is never rewritten")
    async with open_core(Settings.read()) as core, core.db.snapshot() as reader:
        findings, entries = await _watch("replaying", rebuild.differences(reader))
        counts = await audit.counts(reader)
    _tell(findings)
    click.echo(
        f"the journal gives the balances: {entries} entries of {counts['accounts']} accounts"
        " replayed, no difference"
    )


@ledger.command()
@waits
async def head() -> None:
    """Print the newest signed head of the journal's tree, and the key to check receipts with."""
    async with open_core(Settings.read()) as core, core.db.reader() as reader:
        found = await seals.newest(reader)
        click.echo(f"key {core.journal.public.hex()}")
        click.echo(f"size {found.size}\nroot {found.root.hex()}\nsigned_at {found.signed_at}")


@ledger.command()
@click.argument("transfer", required=False)
@waits
async def prove(transfer: str | None) -> None:
    """Print the receipt of TRANSFER (trf_… or a UUID); without one, of the newest."""
    async with open_core(Settings.read()) as core, core.db.snapshot() as reader:
        wanted = seals.transfer_id(transfer) if transfer else await seals.latest(reader)
        found = await seals.receipt(reader, wanted)
    click.echo(receipts.dump(found).decode(), nl=False)


@ledger.command("check-receipt")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", required=True, help="The journal's public key, as `hundi ledger head` says.")
def check_receipt(file: Path, key: str) -> None:
    """Check a receipt with nothing but the journal's public key: no database, no network."""
    with file.open("rb") as opened:
        receipt = receipts.load(opened.read(receipts.MAX_SIZE + 1))
    wrong = receipts.check(receipt, _key(key))
    if wrong is not None:
        click.echo(f"NOT PROVED: {wrong}", err=True)
        sys.exit(1)
    one = receipt.record
    click.echo(
        f"proved: transfer {one['id']} ({one['mode']}, {one['result']}, {one['amount']} minor"
        f" {one['ledger']}) is row {receipt.index} of the journal as it was signed at size"
        f" {receipt.head.size}"
    )


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise invalid("seals.key", "the key is 64 hexadecimal digits", field="key")
    return key


def _kept(text: str) -> tuple[int, bytes]:
    size, _, root = text.partition(":")
    if not (size.isascii() and size.isdigit()) or not re.fullmatch(r"[0-9a-f]{64}", root):
        raise click.BadParameter("SIZE:ROOT, such as 1200:9f… (64 hex digits)", param_hint="--head")
    return int(size), bytes.fromhex(root)


async def _watch(doing: str, found: AsyncIterator[Finding | int]) -> tuple[list[Finding], int]:
    """Collect findings and show how far it is, on a terminal only."""
    findings, done = [], 0
    console = Console(stderr=True)
    with console.status(doing) as status:
        async for one in found:
            if isinstance(one, Finding):
                findings.append(one)
            else:
                done = one
                status.update(f"{doing}: {done:,} rows")
    return findings, done


def _tell(findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{'BROKEN' if finding.fatal else 'watch'}: {finding.law}: {finding.row}")
    if any(finding.fatal for finding in findings):
        sys.exit(1)
