"""Every state of a scope, breadth first: the first violation found is one of the shortest."""

from collections import deque
from typing import NamedTuple

from devices.clock import Clock, SystemClock
from tests.model_offline import moves
from tests.model_offline.part import Broken
from tests.model_offline.world import Scope, World


class Found(NamedTuple):
    """What exploring a scope came to; `trace` in words, empty where no law was broken."""

    scope: str
    states: int
    transitions: int
    depth: int
    seconds: float
    law: str = ""
    trace: tuple[str, ...] = ()


def explore(scope: Scope, *, most: int | None = None, clock: Clock | None = None) -> Found:
    """Explore all states within the scope's budget, up to the first broken law.

    States are told apart by 64-bit fingerprints, as model checkers do: among a million states the chance
    that two are taken for one is about 1 in 30 million. `most` bounds the states, for a quick look.
    """
    clock = clock or SystemClock()
    start = clock.monotonic_ms()
    world = World.begin(scope)
    origin: dict[int, tuple[int | None, str]] = {world.name(): (None, "")}
    waiting = deque([(world, world.name(), 0)])
    transitions = depth = 0

    def found(law: str = "", trace: tuple[str, ...] = ()) -> Found:
        seconds = (clock.monotonic_ms() - start) / 1000
        return Found(scope.name, len(origin), transitions, depth, seconds, law, trace)

    while waiting:
        world, name, depth = waiting.popleft()
        for label, act in moves.every(world):
            try:
                after = act()
                if after is None:
                    continue
                after.check(world)
            except Broken as broken:
                return found(str(broken), (*_trace(origin, name), label))
            transitions += 1
            reached = after.name()
            if reached not in origin:
                origin[reached] = (name, label)
                waiting.append((after, reached, depth + 1))
        if most is not None and len(origin) > most:
            break
    return found()


def _trace(origin: dict[int, tuple[int | None, str]], name: int) -> list[str]:
    words = []
    at: int | None = name
    while at is not None:
        at, label = origin[at]
        words.append(label)
    return words[-2::-1]
