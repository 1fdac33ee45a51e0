"""`make model-offline`: every state of every scope, one table; a broken law ends with its shortest trace."""

import sys
from concurrent.futures import ProcessPoolExecutor

import click
from rich.console import Console
from rich.table import Table

from tests.model_offline.cast import symbolic
from tests.model_offline.explore import Found, explore
from tests.model_offline.scopes import BY_NAME, SCOPES


def play(name: str) -> Found:
    with symbolic():
        return explore(BY_NAME[name])


@click.command()
@click.option("--only", default="", help="scopes whose name has this in it")
@click.option("--jobs", default=2, show_default=True, help="processes at once")
def main(only: str, jobs: int) -> None:
    chosen = [one.name for one in SCOPES if only in one.name]
    with ProcessPoolExecutor(jobs) as pool:
        results = list(pool.map(play, chosen))
    console = Console()
    table = Table("scope", "states", "transitions", "depth", "seconds", "violations")
    for one in results:
        table.add_row(
            one.scope, f"{one.states:,}", f"{one.transitions:,}", str(one.depth),
            f"{one.seconds:.1f}", str(int(bool(one.law))),
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "all", f"{sum(one.states for one in results):,}",
        f"{sum(one.transitions for one in results):,}", "",
        f"{sum(one.seconds for one in results):.1f}", str(sum(bool(one.law) for one in results)),
    )  # fmt: skip
    console.print(table)
    for one in results:
        if one.law:
            console.print(f"\n[bold red]{one.scope}[/]: {one.law}", soft_wrap=True)
            for number, words in enumerate(one.trace, 1):
                console.print(f"  {number}. {words}", highlight=False, soft_wrap=True)
    sys.exit(1 if any(one.law for one in results) else 0)


if __name__ == "__main__":
    main()
