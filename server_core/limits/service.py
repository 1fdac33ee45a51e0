"""What is allowed today."""

from server_core.db.work import Reader
from server_core.errors import unavailable
from server_core.limits import rules, store


async def in_force(reader: Reader, profile: str) -> dict[str, int]:
    """The profile's limits by name, as of now; fail-closed when there are none."""
    limits = await store.in_force(reader, profile)
    if not limits:
        raise unavailable("limits.no_profile", f"no limits are set for profile {profile!r}")
    return limits


async def narrowed(
    reader: Reader, profile: str, part: str, *, may_lack: bool = False
) -> dict[str, int]:
    """The profile's limits, none above what its part (`offline.tee` of `offline`) sets, as of now.

    Fail-closed when the part sets none, unless it `may_lack` them: then the profile's stand.
    """
    base, own = await in_force(reader, profile), f"{profile}.{part}"
    by = await (store.in_force if may_lack else in_force)(reader, own)
    return rules.narrowed(base, by)
