"""Which URLs and which addresses a message may be sent to. Pure.

The guard against server-side request forgery has two halves: `check_url` reads the text, strictly,
when an endpoint is made and before each attempt; `check_addresses` judges what its name resolves
to, at the moment of connecting and by whoever connects, so that a name that changes its mind in
between (DNS rebinding) gains nothing. Source of the lists: the IANA special-purpose registries.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final
from urllib.parse import urlsplit

from server_core.errors import DomainError, invalid

MAX_URL: Final = 2_048
_PORT: Final = {"https": 443, "http": 80}
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_BRACKETED: Final = re.compile(r"\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES: Final = (
    "localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private",
    "home.arpa", "onion", "test", "invalid", "example",
)  # fmt: skip
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_PRIVATE: Final = tuple(
    IPv4Network(one)
    for one in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # public by its number, and yet a cloud's metadata service
    )
)  # fmt: skip
_SPECIAL_V6: Final = tuple(
    IPv6Network(one)
    for one in (
        "2001::/23",  # Teredo, ORCHID, benchmarking and the rest of the IETF's block
        "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A URL, read once: what is asked for and what is connected to are the same parts."""

    secure: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = _PORT["https" if self.secure else "http"]
        return host if self.port == usual else f"{host}:{self.port}"


def check_url(url: str, *, allow_private: bool = False) -> Destination:
    """The destination; raises webhooks.url with what is wrong.

    https to 443 or a port from 1024, a name or a public address, no userinfo, no fragment.
    `allow_private` is for development: plain http, any port and any host.
    """
    if not 0 < len(url) <= MAX_URL or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise _refused(f"1 to {MAX_URL} visible ASCII characters, no backslash; write IDNs as xn--")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("it cannot be read") from None
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise _refused("https only")
    if "@" in parts.netloc:
        raise _refused("no user or password in it: the signature proves who sends")
    if "#" in url:
        raise _refused("no fragment: it is never sent")
    port = _PORT[parts.scheme] if port is None else port
    if port != _PORT["https"] and port < 1024 and not (allow_private and port > 0):
        raise _refused("port 443, or 1024 and above")
    return Destination(
        secure=parts.scheme == "https",
        host=_host(parts.netloc, parts.hostname or "", allow_private=allow_private),
        port=port,
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def _host(netloc: str, host: str, *, allow_private: bool) -> str:
    if netloc.startswith("["):
        if not _BRACKETED.fullmatch(netloc):
            raise _refused("the address cannot be read")
        try:
            address = IPv6Address(host)
        except AddressValueError:
            raise _refused("the address cannot be read") from None
        if not (allow_private or is_public(str(address))):
            raise _refused("the address is not public")
        return str(address)
    labels = host.split(".")
    # Whatever ends in a number is an IPv4 address to somebody: decimal, octal, hex, shortened.
    if _NUMBER.fullmatch(labels[-1]):
        try:
            plain = str(IPv4Address(host))
        except AddressValueError:
            raise _refused("write the address as four decimal numbers") from None
        if not (allow_private or is_public(plain)):
            raise _refused("the address is not public")
        return plain
    if len(host) > 253 or not all(_LABEL.fullmatch(one) for one in labels):
        raise _refused("the host is not a name")
    local = len(labels) < 2 or any(host == one or host.endswith(f".{one}") for one in _LOCAL_NAMES)
    if local and not allow_private:
        raise _refused("the host is a name of a private network")
    return host


def check_addresses(addresses: Iterable[str], *, allow_private: bool = False) -> Sequence[str]:
    """The addresses a name resolves to, if all of them are public; raises webhooks.url.

    One private address among public ones condemns the name: which one is dialled is chance.
    """
    found = list(addresses)
    if not found:
        raise _refused("the host has no address")
    if not allow_private and not all(is_public(one) for one in found):
        raise _refused("the host has an address that is not public")
    return found


def is_public(address: str) -> bool:
    """Whether anybody on the internet would reach the same machine by it.

    IPv6 is allowed by one block (2000::/3) with exceptions, so that loopback, link-local, unique
    local, multicast and every form with an IPv4 address inside (mapped, compatible, 6to4, NAT64,
    Teredo) are refused unseen. False for what is no plain address.
    """
    try:
        if ":" in address:
            six = IPv6Address(address)
            inside = six.scope_id is None and six in _GLOBAL_V6
            return inside and not any(six in block for block in _SPECIAL_V6)
        four = IPv4Address(address)
    except AddressValueError:
        return False
    return not any(four in block for block in _PRIVATE)


def _refused(why: str) -> DomainError:
    return invalid("webhooks.url", f"this URL cannot be an endpoint: {why}", field="url")
