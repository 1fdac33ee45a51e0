"""`make sim-payments-mutants`: plants every fault in a process of its own; each must break a law."""

from tests.sim.hunt import Hunt, damage, planted
from tests.sim.planted import Mutant
from tests.sim_payments.planted import MUTANTS

STORIES = 1000


async def play(mutant: Mutant, url: str, seeds: int, each: int) -> dict[str, object]:
    """Plant `mutant` in this process and play seeds until a law breaks."""
    with planted(mutant, "tests.sim_payments.run") as run:
        await damage(mutant, url)
        for seed in range(seeds):
            played = await run.play(url, seed, each, STORIES)
            if played.broken is not None:
                return {"law": played.broken.law, "seed": seed, "why": played.broken.why}
    return {}


HUNT = Hunt(
    package="tests.sim_payments", mutants=MUTANTS, play=play, seeds=6, each=200, bound_s=240
)

if __name__ == "__main__":
    HUNT.command()()
