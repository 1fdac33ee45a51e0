"""`hundi ledger`: prove that the books are right."""

import sys

import click

from bff.cli.waiting import waits
from server_core.app import open_core
from server_core.events import store as events
from server_core.ledger import audit
from server_core.ledger.audit import Finding
from server_core.settings import Settings


@click.group()
def ledger() -> None:
    """The double-entry ledger."""


@ledger.command()
@waits
async def verify() -> None:
    """Check every law on one snapshot of the live books; exit 1 names the first bad row."""
    async with open_core(Settings.read()) as core, core.db.snapshot() as reader:
        findings = await audit.findings(reader)
        gap = await events.gap(reader)
        counts = await audit.counts(reader)
    if gap is not None:
        findings.append(Finding(law="events are numbered without a gap", row=gap))
    for finding in findings:
        click.echo(f"{'BROKEN' if finding.fatal else 'watch'}: {finding.law}: {finding.row}")
    if any(finding.fatal for finding in findings):
        sys.exit(1)
    click.echo(
        f"the ledger is right: {len(audit.LAWS) + 1} laws hold over {counts['accounts']} accounts,"
        f" {counts['transfers']} transfers, {counts['entries']} entries"
    )
