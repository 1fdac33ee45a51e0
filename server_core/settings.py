"""Settings: read once from the environment, at the top; slices get values."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server_core.errors import invalid
from server_core.rails.callbacks import MIN_KEY
from server_core.trust.model import IssuerToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are. `database_url` None means the embedded PostgreSQL in `home`.

    `upi_url` may list a second connection after a comma; None of the others is not connected.
    """

    home: Path
    database_url: str | None
    upi_url: str
    origin: str
    host: str
    port: int
    dev: bool
    keys_passphrase: str | None
    rail_pace: float
    kafka_bootstrap: str | None = None
    kafka_topic: str = "hundi.events"
    redis_url: str | None = None
    allow_private_webhooks: bool = False
    card_url: str | None = None
    netbanking_url: str | None = None
    callback_key: bytes | None = None
    ussd_key: bytes | None = None
    otlp_url: str | None = None
    issuer_token: IssuerToken | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """From HUNDI_* variables; raises settings.port, .pace, .topic, … on nonsense."""
        env = os.environ if environment is None else environment
        upi = env.get("HUNDI_UPI_URL", "http://127.0.0.1:8481")
        host, port = env.get("HUNDI_HOST", "127.0.0.1"), _port(env.get("HUNDI_PORT", "8480"))
        return cls(
            home=Path(env.get("HUNDI_HOME", ".hundi")).absolute(),
            database_url=env.get("HUNDI_DATABASE_URL") or None,
            upi_url=upi,
            card_url=env.get("HUNDI_CARD_URL", _first(upi)) or None,
            netbanking_url=env.get("HUNDI_NETBANKING_URL", _first(upi)) or None,
            callback_key=_secret("HUNDI_CALLBACK_KEY", env),
            ussd_key=_secret("HUNDI_USSD_KEY", env),
            origin=env.get("HUNDI_ORIGIN", f"http://localhost:{port}"),
            host=host,
            port=port,
            dev=env.get("HUNDI_DEV", "") == "1",
            keys_passphrase=env.get("HUNDI_KEYS_PASSPHRASE") or None,
            rail_pace=_pace(env.get("HUNDI_RAIL_PACE", "1")),
            kafka_bootstrap=env.get("HUNDI_KAFKA_BOOTSTRAP") or None,
            kafka_topic=_topic(env.get("HUNDI_KAFKA_TOPIC", "hundi.events")),
            redis_url=env.get("HUNDI_REDIS_URL") or None,
            issuer_token=_issuer_token(env),
            otlp_url=_otlp_url(env.get("HUNDI_OTLP_URL", "")),
            allow_private_webhooks=env.get("HUNDI_ALLOW_PRIVATE_WEBHOOKS", "") == "1",
        )

    @property
    def rail_urls(self) -> dict[str, str]:
        """Where each rail is, by its name: `upi`, `upi.2`, `card`, `netbanking`."""
        lines = {"upi": self.upi_url, "card": self.card_url, "netbanking": self.netbanking_url}
        return {
            method if place == 1 else f"{method}.{place}": url.strip()
            for method, urls in lines.items()
            for place, url in enumerate((urls or "").split(","), start=1)
            if url.strip()
        }


def _first(urls: str) -> str:
    return urls.partition(",")[0].strip()


def _secret(name: str, env: Mapping[str, str]) -> bytes | None:
    """The bytes of the file that the variable names: as many as the hash has, at least."""
    path = env.get(name)
    if not path:
        return None
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise invalid("settings.secret_file", f"{name} cannot be read: {error.strerror}") from error
    if len(key) < MIN_KEY:
        raise invalid("settings.secret_file", f"the file of {name} needs {MIN_KEY} bytes")
    return key


def _issuer_token(env: Mapping[str, str]) -> IssuerToken | None:
    """The token for root and issuer keys: all three variables, or none."""
    module, label = env.get("HUNDI_ISSUER_PKCS11_MODULE"), env.get("HUNDI_ISSUER_PKCS11_TOKEN")
    file = env.get("HUNDI_ISSUER_PKCS11_PIN_FILE")
    if not (module or label or file):
        return None
    if not (module and label and file):
        raise invalid(
            "settings.issuer_token",
            "HUNDI_ISSUER_PKCS11_MODULE, _TOKEN and _PIN_FILE are set together, or none of them",
        )
    try:
        pin = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(
            "settings.secret_file", "HUNDI_ISSUER_PKCS11_PIN_FILE cannot be read as text"
        ) from error
    return IssuerToken(module=Path(module), label=label, pin=pin)


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 <= int(text) < 65536:
        return int(text)
    raise invalid("settings.port", f"HUNDI_PORT must be 0 to 65535, not {text!r}")


def _otlp_url(text: str) -> str | None:
    if not text or (re.match(r"https?://[^/]", text) and text.isascii()):
        return text or None
    raise invalid(
        "settings.otlp_url", f"HUNDI_OTLP_URL must be the http address of a collector, not {text!r}"
    )


def _topic(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) and text not in {".", ".."}:
        return text
    raise invalid("settings.topic", f"HUNDI_KAFKA_TOPIC is no name of a Kafka topic: {text!r}")


def _pace(text: str) -> float:
    """How fast unknown answers are asked about; 1 is the regulator's schedule, less is sooner."""
    try:
        pace = float(text)
    except ValueError:
        pace = -1
    if 0 < pace <= 1:
        return pace
    raise invalid("settings.pace", f"HUNDI_RAIL_PACE must be above 0 and at most 1, not {text!r}")
