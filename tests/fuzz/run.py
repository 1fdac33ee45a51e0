"""`make fuzz`: no decoder of OV1 fails otherwise than by a verdict, and what it takes it writes back the same.

Seeded mutations of every vector go to every decoder. A find is printed with what repeats it; exit 1.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.table import Table

from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from offline.verdicts import Refused
from tests.fuzz.decoders import DECODERS, Decoder, seeds
from tests.fuzz.mutations import Mutator

_ROUND = 2_000
_TOLD_EACH_MS = 10_000
_KEPT = 5_000


@dataclass(frozen=True, slots=True)
class Find:
    """An input on which a decoder did what it must not."""

    decoder: str
    data: bytes
    what: str

    def __str__(self) -> str:
        return (
            f"{self.decoder}: {self.what}\n  repeat: "
            f'DECODERS["{self.decoder}"].read(bytes.fromhex("{self.data.hex()}"))'
        )


@dataclass(slots=True)
class Tally:
    """How often each decoder took an input, or refused it by which verdict."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    inputs: int = 0

    def table(self) -> Table:
        table = Table("decoder", "taken", "refused, by verdict")
        for name in DECODERS:
            found = {what: n for (of, what), n in self.outcomes.items() if of == name}
            taken = found.pop("taken", 0)
            refused = ", ".join(f"{what} {n:,}" for what, n in sorted(found.items()))
            table.add_row(name, f"{taken:,}", refused)
        return table


def attempt(decoder: Decoder, data: bytes) -> str | Find:
    """Give `taken`, the verdict, or what must not be."""
    try:
        value = decoder.read(data)
    except Refused as refusal:
        return str(refusal.verdict)
    except Exception as e:  # noqa: BLE001 - this is what is looked for
        return Find(decoder.name, data, f"{type(e).__name__}: {e}")
    if decoder.write is not None and decoder.write(value) != data:
        return Find(decoder.name, data, "taken, and written back otherwise")
    return "taken"


def fuzz(seed: str, inputs: int, tally: Tally, decoders: Mapping[str, Decoder]) -> list[Find]:
    """Feed so many mutated inputs to every decoder. What a decoder takes is mutated further."""
    corpus = seeds()
    kept = len(corpus) + _KEPT
    mutator, finds = Mutator(seed, corpus), []
    for _ in range(inputs):
        data, taken = mutator.next(), False
        for decoder in decoders.values():
            done = attempt(decoder, data)
            if isinstance(done, Find):
                finds.append(done)
            else:
                tally.outcomes[decoder.name, done] += 1
                taken |= done == "taken" and decoder.write is not None
        tally.inputs += 1
        if taken and len(corpus) < kept and decoders is DECODERS:
            corpus.append(data)
    return finds


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--seed", default="", help="what an earlier run printed; else a new one")
def main(minutes: float, seed: str) -> None:
    clock, console = SystemClock(), Console()
    seed = seed or SystemEntropy().bytes(4).hex()
    began = told = clock.monotonic_ms()
    ends = began + int(60_000 * minutes)
    tally, part = Tally(), 0
    finds: list[Find] = []
    console.print(f"seed {seed}: {len(seeds())} inputs to begin from, {len(DECODERS)} decoders")
    while (now := clock.monotonic_ms()) < ends and not finds:
        finds = fuzz(f"{seed}.{part}", _ROUND, tally, DECODERS)
        part += 1
        if now - told >= _TOLD_EACH_MS:
            told = now
            rate = 1_000 * tally.inputs // (now - began)
            console.print(
                f"{tally.inputs:,} inputs, {rate:,} a second, {len(tally.outcomes)} outcomes,"
                f" {(ends - now) // 1_000} s left"
            )
    console.print(tally.table())
    for find in finds[:10]:
        console.print(str(find), style="bold red", soft_wrap=True, highlight=False)
    end = f"found at seed {seed}.{part - 1}" if finds else "nothing but verdicts"
    console.print(f"{tally.inputs:,} inputs to each decoder: {end}")
    sys.exit(1 if finds else 0)


if __name__ == "__main__":
    main()
