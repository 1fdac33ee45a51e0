"""What every command has: where the home is, how to answer, and exit codes that a script can trust."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, ParamSpec

import click

from edge_agent.errors import VerdictError
from edge_agent.home import Home
from edge_agent.show import TROUBLES, Said, Screen, failed, trouble
from offline.verdicts import Refused

P = ParamSpec("P")
OK: Final = 0
REFUSED: Final = 1
TECHNICAL: Final = 2


def command(
    run: Callable[Concatenate[Home, Screen, P], Said],
) -> Callable[..., None]:
    """Give a command its home, its screen, and one way out for everything that can go wrong."""

    @click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="HUNDI_EDGE_HOME",
        default=Path("~/.hundi-edge"),
        show_default=True,
        help="Folder of this agent.",
    )
    @click.option(
        "--passphrase-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File with the key's passphrase (or HUNDI_EDGE_PASSPHRASE; else a machine key file).",
    )
    @click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object a line.")
    @functools.wraps(run)
    def wrapped(
        home: Path,
        passphrase_file: Path | None,
        as_json: bool,
        *args: P.args,
        **given: P.kwargs,
    ) -> None:
        draw, png = given.pop("qr", False), given.pop("png", None)
        screen = Screen(
            as_json=as_json,
            draw=bool(draw),
            png=png if isinstance(png, Path) else None,
        )
        place = Home(root=home.expanduser(), passphrase_file=passphrase_file)
        sys.exit(answer(screen, lambda: run(place, screen, *args, **given)))

    return wrapped


def answer(screen: Screen, run: Callable[[], Said]) -> int:
    """Run, say what came of it, and give the exit code. Nothing of it is a traceback."""
    try:
        screen.check()
        said = run()
        screen.say(said)
    except TROUBLES as e:
        screen.say(trouble(e))
        return REFUSED if isinstance(e, VerdictError | Refused) else TECHNICAL
    except KeyboardInterrupt:
        screen.say(failed("edge.interrupted", "interrupted; look at status before you go on"))
        return TECHNICAL
    return OK if said.ok else REFUSED


def shop_currency(run: Callable[P, None]) -> Callable[P, None]:
    """Add the option of a command that pairs a terminal. What it may risk the issuer says."""
    return click.option(
        "--currency", default="INR", show_default=True, help="What this shop is paid in."
    )(run)


def code_output(run: Callable[P, None]) -> Callable[P, None]:
    """Add the options of a command that shows a code."""
    with_png = click.option(
        "--png",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the code as a PNG picture.",
    )(run)
    return click.option(
        "--qr/--no-qr", default=False, help="Draw the code in this terminal window."
    )(with_png)
