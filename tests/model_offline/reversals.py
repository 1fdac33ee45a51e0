"""`make model-offline-reversals`: rules taken back one at a time; a law must break for each."""

import sys
from concurrent.futures import ProcessPoolExecutor

import click
from rich.console import Console
from rich.table import Table

from tests.model_offline.cast import symbolic
from tests.model_offline.explore import Found, explore
from tests.model_offline.taken_back import REVERSALS


def take_back(place: int) -> Found:
    """Explore the reversal's scope without the rule, up to the first broken law."""
    one = REVERSALS[place]
    with symbolic(), one.made():
        return explore(one.scope)


def caught(place: int, found: Found) -> bool:
    return bool(found.law) and found.law.startswith(REVERSALS[place].law)


@click.command()
@click.option("--only", default="", help="rules that have this in their sentence")
@click.option("--jobs", default=2, show_default=True, help="processes at once")
@click.option("--traces", is_flag=True, help="print each shortest trace")
def main(only: str, jobs: int, traces: bool) -> None:
    chosen = [place for place, one in enumerate(REVERSALS) if only in one.rule]
    with ProcessPoolExecutor(jobs) as pool:
        results = dict(zip(chosen, pool.map(take_back, chosen), strict=True))
    console = Console()
    table = Table("rule taken back", "scope", "states", "steps", "law that broke")
    for place, found in results.items():
        held = "" if caught(place, found) else "[bold red]NOT CAUGHT[/] "
        table.add_row(
            REVERSALS[place].rule, found.scope, f"{found.states:,}", str(len(found.trace)),
            held + found.law,
        )  # fmt: skip
    console.print(table)
    for place, found in results.items() if traces else ():
        console.print(f"\n{REVERSALS[place].rule}: {found.law}", soft_wrap=True)
        for number, words in enumerate(found.trace, 1):
            console.print(f"  {number}. {words}", highlight=False, soft_wrap=True)
    missed = [place for place, found in results.items() if not caught(place, found)]
    console.print(f"{len(results) - len(missed)} of {len(results)} rules taken back were caught")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
