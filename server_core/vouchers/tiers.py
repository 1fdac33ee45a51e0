"""What an allowance may be by the tier of its device: the regulator's limits, or lower ones."""

from devices.keystore.port import Tier
from server_core.db.work import Reader
from server_core.limits import service as limits
from server_core.vouchers.model import PROFILE


async def limits_of(reader: Reader, tier: str) -> dict[str, int]:
    """The limits for a device of this tier: those of `offline`, narrowed by `offline.<tier>`.

    A tier without limits of its own gets none (limits.no_profile), but for the highest one.
    """
    return await limits.narrowed(reader, PROFILE, tier, may_lack=tier == Tier.HARDWARE_COUNTER)


async def by_tier(reader: Reader) -> dict[Tier, dict[str, int]]:
    """The limits of every tier, the highest first."""
    return {tier: await limits_of(reader, tier) for tier in Tier}
