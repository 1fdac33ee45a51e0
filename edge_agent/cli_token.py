"""`hundi-edge token`: make this agent's key on a PKCS#11 token, before it is paired."""

from pathlib import Path

import click

from edge_agent.cli_shape import command
from edge_agent.errors import AgentError
from edge_agent.home import KEYS, Home, give_to_owner, token_keys
from edge_agent.show import Look, Said, Screen
from offline.model import Algorithm

_ALGORITHMS = {"ed25519": Algorithm.ED25519, "p256": Algorithm.P256}


@click.command()
@click.argument("role", type=click.Choice(["terminal", "payer"]))
@click.option(
    "--module",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The token's PKCS#11 library.",
)
@click.option("--label", required=True, help="The token's label.")
@click.option(
    "--algorithm",
    type=click.Choice(sorted(_ALGORITHMS)),
    default="ed25519",
    show_default=True,
    help="What the token can sign with.",
)
@click.option(
    "--tpm",
    help="Of a payer: anchor its counters in this TPM 2.0: /dev/tpmrm0, or a TCTI of tpm2-tools.",
)
@command
def token(
    home: Home,
    _screen: Screen,
    /,
    role: str,
    module: Path,
    label: str,
    algorithm: str,
    tpm: str | None,
) -> Said:
    """Make the key of a terminal or a payer's device on a token, where it stays.

    The token's PIN is read as the passphrase is: --passphrase-file or HUNDI_EDGE_PASSPHRASE. Then
    pair as always.
    """
    if tpm is not None and role != "payer":
        raise AgentError("edge.tpm_of_payer", "only a payer's key counts: leave --tpm out")
    keys = token_keys()
    with home.locked(role) as folder:
        if any((folder / KEYS).glob("*.sealed")):
            raise AgentError("edge.key_exists", f"{folder / KEYS} holds a key already")
        made = keys.create(
            folder / KEYS,
            module=module.absolute(),
            token=label,
            pin=home.pin(),
            algorithm=_ALGORITHMS[algorithm],
            tpm=tpm,
            entropy=home.entropy,
        )
        give_to_owner(home.root, folder, folder / KEYS, *(folder / KEYS).iterdir())
    return Said(
        ok=True,
        code="edge.token_ready",
        line=f"The {role}'s key is on the token {label}.",
        look=Look.FINE,
        detail="Pair it as always; every start needs the PIN.",
        facts={
            "role": role,
            "key": made.public_key().hex(),
            "algorithm": algorithm,
            "tier": made.tier,
        },
    )
