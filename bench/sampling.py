"""Where a process's time goes: the stack looked at a few hundred times a second of its own CPU time."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

EVERY_S = 0.002


@dataclass(slots=True)
class Samples:
    """How often a function was at work itself (`own`), and was somewhere on the stack (`under`)."""

    taken: int = 0
    own: Counter[str] = field(default_factory=Counter)
    under: Counter[str] = field(default_factory=Counter)

    def add(self, frame: FrameType | None) -> None:
        self.taken += 1
        seen: set[str] = set()
        first = True
        while frame is not None:
            name = _name(frame)
            if first:
                self.own[name] += 1
                first = False
            seen.add(name)
            frame = frame.f_back
        self.under.update(seen)

    def show(self, each_us: float, most: int = 32) -> None:
        """The top costs; `each_us` is the CPU time of one payment."""
        for title, counted in (("itself", self.own), ("with what it calls", self.under)):
            print(f"  {title}:")
            for name, count in counted.most_common(most):
                share = count / max(1, self.taken)
                print(f"    {share:6.1%} {share * each_us:7.1f} µs  {name}")


def _name(frame: FrameType) -> str:
    code = frame.f_code
    path = Path(code.co_filename)
    return f"{path.parent.name}/{path.name} {code.co_qualname}"


@contextmanager
def sampled() -> Iterator[Samples]:
    """Samples of the main thread while the block runs."""
    samples = Samples()
    before = signal.signal(signal.SIGPROF, lambda _, frame: samples.add(frame))
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    try:
        yield samples
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
