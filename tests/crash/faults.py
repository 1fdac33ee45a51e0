"""The faults of one PostgreSQL: each strikes a running scene and says that it struck."""

import os
import signal
from collections.abc import Awaitable, Callable

from tests.crash.scene import HEAL_S, Scene
from tests.crash.waiting import beside, until


async def immediate_stop(scene: Scene) -> None:
    """`pg_ctl stop -m immediate`: every backend quits where it stands; the next start recovers."""
    await beside(scene.cluster.stop, "immediate")
    await _was_noticed(scene)
    await beside(scene.cluster.start)


async def planned_restart(scene: Scene) -> None:
    """`-m fast`: what is under way is rolled back, pooled connections are closed."""
    await beside(scene.cluster.stop, "fast")
    await _was_noticed(scene)
    await beside(scene.cluster.start)


async def backend_killed(scene: Scene) -> None:
    """Kill -9 one backend: the postmaster ends its peers and goes through recovery."""
    await scene.cluster.kill_backend(scene.dice.below(8))
    await _was_noticed(scene)


async def postmaster_killed(scene: Scene) -> None:
    """Kill -9 the postmaster, and start at once, while its orphans may still hold its memory."""
    pid = scene.cluster.kill_postmaster()
    await beside(scene.cluster.start)
    assert scene.cluster.postmaster() != pid
    await _was_noticed(scene)


async def postmaster_stopped_then_killed(scene: Scene) -> None:
    """A frozen postmaster lets its backends work on; killed then, it leaves them as orphans."""
    pid = scene.cluster.postmaster()
    os.kill(pid, signal.SIGSTOP)
    await scene.under_way()
    os.kill(pid, signal.SIGKILL)
    await beside(scene.cluster.start)
    await _was_noticed(scene)


async def load_killed(scene: Scene) -> None:
    """Kill -9 the program that posts: it starts again and repeats what it was not told."""
    await beside(scene.load.kill)
    assert scene.journal.read().open, "nothing was under way when it was killed"
    scene.journal.errors["db.unreachable"] = scene.journal.errors.get("db.unreachable", 0) + len(
        scene.journal.open
    )
    scene.load.start()


async def follower_killed(scene: Scene) -> None:
    await beside(scene.follower.kill)
    scene.follower.start()


POSTGRES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "immediate stop": immediate_stop,
    "planned restart": planned_restart,
    "backend killed": backend_killed,
    "postmaster killed": postmaster_killed,
    "postmaster frozen, then killed": postmaster_stopped_then_killed,
    "load killed": load_killed,
}


async def rounds(scene: Scene, number: int) -> dict[str, int]:
    """Every fault `number` times in a seeded order; how many calls each left without an answer."""
    order = [name for name in POSTGRES for _ in range(number)]
    lost: dict[str, int] = {}
    while order:
        name = order.pop(scene.dice.below(len(order)))
        if scene.dice.below(2):
            await follower_killed(scene)
        struck = await scene.fault(lambda name=name: POSTGRES[name](scene))
        assert struck > 0, f"the fault did not fire: {name}"
        lost[name] = lost.get(name, 0) + struck
    return lost


async def _was_noticed(scene: Scene) -> None:
    before = scene.journal.lost()
    await until(lambda: scene.journal.read().lost() > before, HEAL_S, "a call lost its answer")
