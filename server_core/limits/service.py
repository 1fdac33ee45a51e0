"""What is allowed today."""

from server_core.db.work import Reader
from server_core.errors import unavailable
from server_core.limits import store


async def in_force(reader: Reader, profile: str) -> dict[str, int]:
    """The profile's limits by name, as of now; fail-closed when there are none."""
    limits = await store.in_force(reader, profile)
    if not limits:
        raise unavailable("limits.no_profile", f"no limits are set for profile {profile!r}")
    return limits
