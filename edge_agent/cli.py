"""The command `hundi-edge`: a payer's device and a shop's terminal that work with no network."""

import click

from edge_agent.cli_payer import payer
from edge_agent.cli_setup import setup
from edge_agent.cli_terminal import terminal
from edge_agent.cli_token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Pay and be paid with no network. Exit codes: 0 paid or done, 1 refused, 2 usage or technical."""


main.add_command(setup)
main.add_command(payer)
main.add_command(terminal)
main.add_command(token)
