"""Root and issuer keys on a PKCS#11 token, on SoftHSM: they sign, take turns, and never leave it."""

import asyncio
import ctypes
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cbor2
import pkcs11
import pytest
from click.testing import CliRunner
from pkcs11 import Attribute, ObjectClass

from bff.cli.main import main
from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from devices.keystore import tokens as tokens_of_devices
from devices.keystore.port import KeyStoreDamaged, KeyStoreError, KeyStoreLocked
from devices.keystore.sealed_file import SealedFile
from devices.keystore.tokens import LOGINS, TokenKey
from offline.model import Algorithm
from offline.signing import allowance_message
from offline.trust import check_bundle, check_issued
from offline.verdicts import Verdict
from server_core.errors import DomainError
from server_core.settings import Settings
from server_core.trust import service
from server_core.trust import tokens as tokens_of_trust
from server_core.trust.model import IssuerToken
from server_core.trust.service import Keys
from tests.conftest import NOW_MS
from tests.server_core.vouchers.street import Street
from tests.softhsm import MODULE, PIN

DAY_MS = 86_400_000
ENTROPY = SystemEntropy()
MESSAGE = allowance_message(b"\x00\x01", b"A")


@pytest.fixture
def place(token: str) -> IssuerToken:
    return IssuerToken(module=MODULE, label=token, pin=PIN)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def load(tmp_path: Path, clock: ManualClock, place: IssuerToken) -> Callable[..., Keys]:
    def made(token: IssuerToken | None = place) -> Keys:
        return service.load(tmp_path, entropy=ENTROPY, clock=clock, passphrase=None, token=token)

    return made


def rotate(home: Path, clock: ManualClock, token: IssuerToken | None) -> Keys:
    clock.advance(5 * DAY_MS)
    return service.rotate(home, entropy=ENTROPY, clock=clock, passphrase=None, token=token)


def restart() -> None:
    """What a new process begins with."""
    for login in LOGINS.values():
        login.session.close()
    LOGINS.clear()
    pkcs11.lib(str(MODULE)).reinitialize()


def stored(home: Path) -> list:
    file = SealedFile(home, "trust.key", entropy=ENTROPY, passphrase=None)
    return cbor2.loads(file.read())


async def test_the_bundle_holds_and_what_the_token_signed_holds_by_it(
    load: Callable[..., Keys],
) -> None:
    keys = load()
    signed = keys.bundle
    assert check_bundle(signed, signed.root_kid, keys.root_key, 1) is Verdict.ACCEPTED
    sig = await keys.sign(MESSAGE)
    now_s = NOW_MS // 1000
    assert check_issued(signed.bundle, keys.kid, "A", MESSAGE, sig, now_s) is Verdict.ACCEPTED
    restart()
    again = load()
    assert (again.bundle, again.fingerprint) == (signed, keys.fingerprint)
    assert await again.sign(MESSAGE) == sig


async def test_many_tasks_sign_at_once(load: Callable[..., Keys]) -> None:
    keys = load()
    messages = [allowance_message(keys.kid, bytes([n])) for n in range(50)]
    signed = await asyncio.gather(*(keys.sign(one) for one in messages))
    for message, sig in zip(messages, signed, strict=True):
        found = check_issued(keys.bundle.bundle, keys.kid, "A", message, sig)
        assert found is Verdict.ACCEPTED


def test_no_key_can_be_had_from_the_token_or_the_ring(
    load: Callable[..., Keys], place: IssuerToken, tmp_path: Path
) -> None:
    keys = load()
    [login] = LOGINS.values()
    found = list(login.session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
    assert len(found) == 3
    for key in found:
        assert (key[Attribute.SENSITIVE], key[Attribute.EXTRACTABLE]) == (True, False)
        with pytest.raises(pkcs11.AttributeSensitive):
            _ = key[Attribute.VALUE]
    form, root, _, issuers, *_ = stored(tmp_path)
    published = {one.key for one in keys.bundle.bundle.entries}
    assert (form, root[1]) == (4, keys.root_key)
    assert {key[1] for _, key, *_ in issuers} == published
    assert {root[0][:11], *(key[0][:13] for _, key, *_ in issuers)} == {
        "hundi-root-", "hundi-issuer-",
    }  # fmt: skip
    assert PIN not in repr(place)


async def test_keys_take_turns_on_the_token(
    load: Callable[..., Keys], place: IssuerToken, clock: ManualClock, tmp_path: Path
) -> None:
    before = load()
    with pytest.raises(DomainError, match=r"trust\.next_too_young"):
        service.rotate(tmp_path, entropy=ENTROPY, clock=clock, passphrase=None, token=place)
    [login] = LOGINS.values()
    private = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    assert len(list(login.session.get_objects(private))) == 3  # a refused turn makes no key
    sig = await before.sign(MESSAGE)
    after = rotate(tmp_path, clock, place)
    restart()
    assert load().bundle == after.bundle
    old, current, following = after.bundle.bundle.entries
    assert [one.usages for one in (old, current, following)] == ["AC", "ABCLY", "ABCLY"]
    assert (old.kid, current.kid) == (before.kid, after.kid)
    assert after.on_token == {one.kid for one in after.bundle.bundle.entries}
    bundle = after.bundle.bundle
    assert check_issued(bundle, old.kid, "A", MESSAGE, sig) is Verdict.ACCEPTED
    fresh = await load().sign(MESSAGE)
    assert check_issued(bundle, current.kid, "A", MESSAGE, fresh) is Verdict.ACCEPTED


async def test_a_ring_of_seeds_moves_to_the_token_by_its_turns(
    load: Callable[..., Keys], place: IssuerToken, clock: ManualClock, tmp_path: Path
) -> None:
    seeds = load(None)
    assert (seeds.on_token, load().bundle) == (frozenset(), seeds.bundle)
    one = rotate(tmp_path, clock, place)
    assert (one.on_token, one.root_on_token) == ({b"\x00\x03"}, False)
    two = rotate(tmp_path, clock, place)
    assert (two.kid in two.on_token, two.root_key) == (True, seeds.root_key)
    sig = await two.sign(MESSAGE)
    assert check_issued(two.bundle.bundle, two.kid, "A", MESSAGE, sig) is Verdict.ACCEPTED
    with pytest.raises(KeyStoreLocked, match="HUNDI_ISSUER_PKCS11_MODULE"):
        load(None)


async def test_a_token_that_was_away_signs_again_without_a_restart(
    load: Callable[..., Keys], tokens: Path
) -> None:
    keys = load()
    sig = await keys.sign(MESSAGE)
    away = tokens.rename(tokens.with_name("away"))  # noqa: ASYNC240 - nobody else waits
    try:
        for _ in range(2):
            with pytest.raises(DomainError) as caught:
                await keys.sign(MESSAGE)
            assert (caught.value.code, caught.value.kind) == ("trust.token_away", "unavailable")
            assert PIN not in str(caught.value)
    finally:
        away.rename(tokens)
    assert await keys.sign(MESSAGE) == sig
    [login] = LOGINS.values()
    login.session.close()  # as a token does that was taken out and put back
    assert await keys.sign(MESSAGE) == sig
    ctypes.CDLL(str(MODULE)).C_Finalize(None)  # as a module does whose service was started anew
    assert await keys.sign(MESSAGE) == sig


async def test_a_token_that_hangs_is_waited_for_so_long(
    load: Callable[..., Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, over = load(), threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(tokens_of_trust, "_PATIENCE_S", 0.05)
        patched.setattr(TokenKey, "sign", lambda *_: over.wait(60))
        with pytest.raises(DomainError, match=r"trust\.token_away"):
            await keys.sign(MESSAGE)
        with pytest.raises(DomainError, match=r"trust\.token_away"):
            load()
        over.set()
    assert await keys.sign(MESSAGE)


async def test_a_pin_that_was_changed_is_tried_once(
    load: Callable[..., Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = load()
    tried = []

    def refused(*_: object) -> None:
        tried.append(1)
        raise pkcs11.PinIncorrect

    monkeypatch.setattr("server_core.trust.tokens.logged_in_again", refused)
    [login] = LOGINS.values()
    login.session.close()
    for _ in range(3):
        with pytest.raises(DomainError, match=r"trust\.token_away"):
            await keys.sign(MESSAGE)
    assert len(tried) == 1


def test_a_wrong_pin_a_missing_token_and_another_one_open_nothing(
    load: Callable[..., Keys], place: IssuerToken, tmp_path: Path, clock: ManualClock
) -> None:
    load()
    wrong = IssuerToken(module=MODULE, label=place.label, pin="000000")
    for _ in range(2):
        with pytest.raises(KeyStoreLocked, match="PIN"):
            load(wrong)
        restart()
    with pytest.raises(KeyStoreDamaged, match="no such token"):
        load(IssuerToken(module=MODULE, label="none", pin=PIN))
    with pytest.raises(KeyStoreError, match="cannot be read"):
        load(IssuerToken(module=tmp_path / "no.so", label=place.label, pin=PIN))
    load()
    [login] = LOGINS.values()
    label = stored(tmp_path)[3][0][1][0]
    for key in login.session.get_objects({Attribute.LABEL: label}):
        key.destroy()
    with pytest.raises(KeyStoreDamaged, match="no key of ours"):
        load()


def test_a_key_under_the_rings_label_that_is_not_the_rings_is_refused(
    load: Callable[..., Keys], tmp_path: Path
) -> None:
    load()
    [login] = LOGINS.values()
    label = stored(tmp_path)[3][0][1][0]

    def replace(template: dict[Attribute, bool]) -> None:
        for key in list(login.session.get_objects({Attribute.LABEL: label})):
            key.destroy()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(tokens_of_devices, "KEPT", template)
            tokens_of_devices.generate_pair(login, label, Algorithm.ED25519)

    replace(tokens_of_devices.KEPT)
    with pytest.raises(KeyStoreDamaged, match="is not the ring's"):
        load()
    replace({Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False})
    with pytest.raises(KeyStoreError, match="must be"):
        load()


def test_without_the_extra_it_is_said(
    load: Callable[..., Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(None)
    monkeypatch.delitem(sys.modules, "server_core.trust.tokens", raising=False)
    monkeypatch.setitem(sys.modules, "devices.keystore.tokens", None)
    with pytest.raises(KeyStoreError, match="hundi\\[pkcs11\\]"):
        load()


def test_the_three_settings_are_set_together(tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text(f"{PIN}\n")
    name = "HUNDI_ISSUER_PKCS11_"
    env = {f"{name}MODULE": str(MODULE), f"{name}TOKEN": "t", f"{name}PIN_FILE": str(pin)}
    assert Settings.read(env).issuer_token == IssuerToken(module=MODULE, label="t", pin=PIN)
    assert Settings.read({}).issuer_token is None
    for left_out in env:
        with pytest.raises(DomainError, match=r"settings\.issuer_token"):
            Settings.read({name: value for name, value in env.items() if name != left_out})
    with pytest.raises(DomainError, match=r"settings\.secret_file"):
        Settings.read(env | {f"{name}PIN_FILE": str(tmp_path / "none")})


async def test_an_issuer_on_a_token_issues_and_settles_and_its_command_turns_it(
    database_url: str, token: str, tmp_path: Path
) -> None:
    from server_core.app import open_core

    (tmp_path / "pin").write_text(PIN)
    env = {
        "HUNDI_HOME": str(tmp_path / "home"), "HUNDI_DATABASE_URL": database_url,
        "HUNDI_ISSUER_PKCS11_MODULE": str(MODULE), "HUNDI_ISSUER_PKCS11_TOKEN": token,
        "HUNDI_ISSUER_PKCS11_PIN_FILE": str(tmp_path / "pin"),
    }  # fmt: skip
    async with open_core(Settings.read(env)) as core:
        assert core.trust.root_on_token
        street = Street(core.db, core.trust)
        shop, phone = await street.shop(), await street.phone()
        shop.accept(phone.pay(shop, 12_300))
        assert await shop.sync() == [Verdict.ACCEPTED]
    told = await asyncio.to_thread(CliRunner().invoke, main, ["keys", "policy"], env=env)
    assert "0001  until" in told.stdout
    assert "on the token  signs now" in told.stdout
    assert "the root is on the token" in told.stdout
    early = await asyncio.to_thread(CliRunner().invoke, main, ["keys", "rotate-issuer"], env=env)
    assert (early.exit_code, "trust.next_too_young" in early.stderr) == (1, True)
