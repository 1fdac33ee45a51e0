"""Every way to name what is not public is refused: as a URL, and as what a name resolves to."""

from collections.abc import Sequence

import pytest

from devices.clock import SystemClock
from server_core.errors import DomainError
from server_core.webhooks.destinations import check_addresses, check_url, is_public
from server_core.webhooks.model import Failure
from server_core.webhooks.sending import Sender

HOSTILE = [
    # schemes, parts
    "http://shop.example.com/", "ftp://shop.example.com/", "file:///etc/passwd",
    "gopher://shop.example.com/", "javascript:alert(1)", "//shop.example.com/", "shop.example.com",
    "", " https://shop.example.com/", "https://shop.example.com/ ", "https:///path", "https://",
    "https://shop.example.com/#part", "https://shop.example.com\\@10.0.0.1/",
    "https://user@shop.example.com/", "https://user:pass@shop.example.com/",
    "https://shop.example.com@127.0.0.1/", "https://shop.example.com\r\nhost: x/",
    "https://shop.example.com/\x00", "https://sh\u00f6p.example.com/", "https://shop..example.com/",
    "https://shop.example.com./", "https://-shop.example.com/", "https://shop%2eexample.com/",
    "https://127。0。0。1/", "https://①②⑦.0.0.1/", "https://[shop.example.com]/", "https://*.com/",
    # ports
    "https://shop.example.com:22/", "https://shop.example.com:80/", "https://shop.example.com:0/",
    "https://shop.example.com:1023/", "https://shop.example.com:65536/",
    "https://shop.example.com:x/",
    # names of here
    "https://localhost/", "https://LOCALHOST/", "https://a.localhost/", "https://intranet/",
    "https://db.internal/", "https://metadata.google.internal/", "https://printer.local/",
    "https://router.home.arpa/", "https://x.test/",
    # IPv4 in every notation
    "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0177.0.0.1/",
    "https://0x7f.0.0.1/", "https://0x7f000001/", "https://017700000001/", "https://127.0.0.01/",
    "https://10.0.0.1/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.1.1/",
    "https://169.254.169.254/", "https://169.254.170.2/", "https://100.64.0.1/",
    "https://100.100.100.200/", "https://168.63.129.16/", "https://0.0.0.0/", "https://0/",
    "https://192.0.0.192/", "https://192.0.2.1/", "https://198.18.0.1/", "https://198.51.100.7/",
    "https://203.0.113.7/", "https://224.0.0.1/", "https://240.0.0.1/", "https://255.255.255.255/",
    "https://1.2.3/", "https://8.8.8.8.8/", "https://256.1.1.1/", "https://shop.example.0x7f/",
    # IPv6
    "https://[::1]/", "https://[::]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/", "https://[fd00:ec2::254]/", "https://[ff02::1]/", "https://[::127.0.0.1]/",
    "https://[::ffff:127.0.0.1]/", "https://[::ffff:a00:1]/", "https://[::ffff:0:7f00:1]/",
    "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/", "https://[2001:db8::1]/", "https://[3fff::1]/",
    "https://[100::1]/", "https://[fec0::1]/", "https://[::ffff:8.8.8.8]/", "https://[12345::1]/",
    "https://[2606:4700::1111%25eth0]/",
    "https://" + "a" * 2100 + ".com/",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE, ids=[ascii(one)[:40] for one in HOSTILE])
def test_a_hostile_url_is_refused(url: str) -> None:
    with pytest.raises(DomainError) as refused:
        check_url(url)
    assert (refused.value.code, refused.value.field) == ("webhooks.url", "url")


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "authority"),
    [
        ("https://shop.example.com", "shop.example.com", 443, "/", "shop.example.com"),
        ("https://Shop.Example.com/a?b=c", "shop.example.com", 443, "/a?b=c", "shop.example.com"),
        ("https://s.example.com:8443/h", "s.example.com", 8443, "/h", "s.example.com:8443"),
        ("https://xn--shp-sna.example.com/", "xn--shp-sna.example.com", 443, "/",
         "xn--shp-sna.example.com"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "/", "8.8.8.8"),
        ("https://[2606:4700::1111]/x", "2606:4700::1111", 443, "/x", "[2606:4700::1111]"),
    ],
)  # fmt: skip
def test_a_public_url_is_read(url: str, host: str, port: int, target: str, authority: str) -> None:
    to = check_url(url)
    assert (to.secure, to.host, to.port, to.target) == (True, host, port, target)
    assert to.authority == authority


def test_development_may_use_plain_http_here() -> None:
    to = check_url("http://127.0.0.1:80/x", allow_private=True)
    assert (to.secure, to.host, to.port, to.authority) == (False, "127.0.0.1", 80, "127.0.0.1")
    assert check_url("http://localhost:81/", allow_private=True).port == 81
    assert check_url("http://[::1]:8080/", allow_private=True).authority == "[::1]:8080"
    for url in ("ftp://localhost/", "http://u@localhost/", "http://localhost:0/"):
        with pytest.raises(DomainError):
            check_url(url, allow_private=True)


@pytest.mark.parametrize(
    "address",
    ["2606:4700::1111%eth0", "127.0.0.1", "::1", "10.1.2.3", "fe80::1%eth0", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1",
     "169.254.169.254", "not an address", "", "0177.0.0.1", "2001:db8::1", "ff0e::1"],
)  # fmt: skip
def test_one_private_address_condemns_the_name(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(DomainError):
        check_addresses(["8.8.8.8", address])
    assert check_addresses([address], allow_private=True) == [address]


def test_public_addresses_pass_and_none_do_not() -> None:
    assert check_addresses(["8.8.8.8", "2606:4700::1111"]) == ["8.8.8.8", "2606:4700::1111"]
    for allow_private in (False, True):
        with pytest.raises(DomainError):
            check_addresses([], allow_private=allow_private)


def resolving(*answers: Sequence[str]):
    """A name server that says something else each time."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0)

    return resolve


async def test_a_name_that_turns_private_is_not_dialled() -> None:
    """DNS rebinding: public when it was made, private at the attempt."""
    resolve = resolving(["8.8.8.8"], ["127.0.0.1"])
    async with Sender(SystemClock(), resolve=resolve) as sender:
        await sender.check("https://shop.example.com/")
        heard = await sender.post("https://shop.example.com/", b"{}", [])
    assert (heard.status, heard.failure) == (None, Failure.ADDRESS)


async def test_a_private_name_is_refused_as_it_is_made() -> None:
    async with Sender(SystemClock(), resolve=resolving(["10.0.0.1"])) as sender:
        with pytest.raises(DomainError) as refused:
            await sender.check("https://shop.example.com/")
    assert refused.value.code == "webhooks.url"


async def test_a_name_that_does_not_resolve() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async with Sender(SystemClock(), resolve=nowhere) as sender:
        await sender.check("https://shop.example.com/")  # may come to be
        heard = await sender.post("https://shop.example.com/", b"{}", [])
    assert heard.failure is Failure.DNS


async def test_a_stored_url_is_judged_again_at_the_attempt() -> None:
    """What was made while private addresses were allowed is not sent to later."""
    async with Sender(SystemClock(), resolve=resolving()) as sender:
        heard = await sender.post("http://127.0.0.1:9/", b"{}", [])
    assert heard.failure is Failure.ADDRESS
