"""Worlds with cheats among the people: cloned devices, codes shown again, forged and altered ones, files put back."""

from tests.sim_offline.world import World


class CrookedWorld(World):
    """The same city; what honest people have must still be right at the end."""

    def losses(self) -> list[int]:
        return []
