"""`make sim-offline-mutants`: plants every fault in a process of its own; each must break a law."""

from tests.sim.hunt import Hunt, damage, planted
from tests.sim.planted import Mutant
from tests.sim_offline.planted import MUTANTS


async def play(mutant: Mutant, url: str, seeds: int, each: int) -> dict[str, object]:
    """Plant `mutant` in this process and play seeds, honest and crooked, until a law breaks."""
    with planted(mutant, "tests.sim_offline.run") as run:
        await damage(mutant, url)
        for seed in range(seeds):
            for crooked in (False, True):
                played = await run.play(url, seed, each, crooked=crooked)
                if played.broken is not None:
                    return {"law": played.broken.law, "seed": seed, "why": played.broken.why}
    return {}


HUNT = Hunt(
    package="tests.sim_offline", mutants=MUTANTS, play=play, seeds=3, each=1_000, bound_s=240
)

if __name__ == "__main__":
    HUNT.command()()
