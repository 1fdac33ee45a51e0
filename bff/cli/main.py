"""`hundi`: the server's command line."""

import logging
import sys
from typing import Any

import click
import structlog

from bff.cli import (
    demo,
    devices,
    events,
    keys,
    ledger,
    parties,
    payments,
    run,
    sandbox,
    schema,
    serve,
    sessions,
    terminals,
    ussd,
    vouchers,
    webhooks,
)
from devices.keystore.port import KeyStoreError
from server_core.db.embedded import EmbeddedError
from server_core.errors import DomainError


class _Group(click.Group):
    """Says a refusal in one line on stderr, exit 1; a bug keeps its trace."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except DomainError as refused:
            click.echo(f"hundi: {refused.message} ({refused.code})", err=True)
            sys.exit(1)
        except (EmbeddedError, KeyStoreError) as error:
            click.echo(f"hundi: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hundi")
def main() -> None:
    """Payments that keep working when the network is gone."""
    facts: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*facts, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What a library has to say is a line of JSON too.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *facts],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


for group in (
    devices.devices, events.events, keys.keys, ledger.ledger, parties.party, payments.payments, sessions.session,
    terminals.terminal, vouchers.voucher, ussd.ussd, schema.schema, webhooks.webhooks,
):  # fmt: skip
    main.add_command(group)
for command in (serve.serve, serve.work, sandbox.sandbox, run.run, demo.demo):
    main.add_command(command)
