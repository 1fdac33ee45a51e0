"""One row a figure: a value, its baseline of the same run, and whether the goal holds."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).with_name("out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`ratio` is value over baseline; `goal` says what is asked, `holds` whether it was met.

    A goal that is not `required` is aimed at: missing it is shown and fails nothing.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    n: int = 0
    goal: str = ""
    holds: bool | None = None
    required: bool = True


def machine() -> str:
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}"


def report(target: str, figures: list[Figure]) -> bool:
    """Print the table, write bench/out/<target>.json; True when every required goal holds."""
    table = Table(title=f"{target}: {machine()}", title_justify="left")
    for heading in ("figure", "value", "baseline", "ratio", "n", "goal", "holds"):
        table.add_column(heading, justify="left" if heading in {"figure", "goal"} else "right")
    for one in figures:
        table.add_row(
            one.name,
            f"{one.value:,.2f} {one.unit}",
            "" if one.baseline is None else f"{one.baseline:,.2f} {one.unit}",
            "" if one.ratio is None else f"{one.ratio:.2f}",
            f"{one.n:,}",
            one.goal,
            _held(one),
        )
    Console(width=140).print(table)
    OUT.mkdir(exist_ok=True)
    (OUT / f"{target}.json").write_text(json.dumps([asdict(one) for one in figures], indent=2))
    return all(one.holds is not False for one in figures if one.required)


def _held(one: Figure) -> str:
    if one.holds is None:
        return ""
    return "yes" if one.holds else ("NO" if one.required else "no (goal)")


def percentile(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
