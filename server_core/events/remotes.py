"""Opens a remote bus by its name; its library is loaded only when it is asked for."""

from dataclasses import dataclass
from enum import StrEnum

from server_core.db.work import Database
from server_core.errors import invalid
from server_core.events.bus import Remote


class Target(StrEnum):
    """Where the event log may be carried to."""

    KAFKA = "kafka"
    REDIS = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Of each remote bus, as the settings say; None is none."""

    kafka_bootstrap: str | None
    kafka_topic: str
    redis_url: str | None


def connect(target: Target, addresses: Addresses, db: Database) -> Remote:
    """The bus, not yet reached. Raises settings.relay when its address or its library is missing."""
    try:
        if target is Target.KAFKA and addresses.kafka_bootstrap is not None:
            from server_core.events.kafka import KafkaBus  # noqa: PLC0415 - an extra

            return KafkaBus(
                addresses.kafka_bootstrap, addresses.kafka_topic, cell=db.cell, clock=db.clock
            )
        if target is Target.REDIS and addresses.redis_url is not None:
            from server_core.events.redis_bus import RedisBus  # noqa: PLC0415 - an extra

            return RedisBus(addresses.redis_url, cell=db.cell)
    except ImportError as error:
        raise invalid("settings.relay", f"install hundi[{target}]: {error}") from error
    except ValueError as error:
        raise invalid("settings.relay", f"{target}'s address is malformed: {error}") from error
    name = {Target.KAFKA: "HUNDI_KAFKA_BOOTSTRAP", Target.REDIS: "HUNDI_REDIS_URL"}[target]
    raise invalid("settings.relay", f"{target} has no address: set {name}")
