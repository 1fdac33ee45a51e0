"""The ring: made once, sealed, its keys in turn; nonces are ours, fresh and used once."""

import asyncio
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from devices.clock import ManualClock
from devices.entropy import SeededEntropy, SystemEntropy
from devices.keystore.port import KeyStoreDamaged, KeyStoreLocked
from offline.model import Policy
from offline.signing import allowance_message
from offline.trust import check_bundle, check_issued
from offline.verdicts import Verdict
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.trust import jobs, ring, service
from server_core.trust.model import KEY_LIFE_S
from server_core.trust.service import Keys
from tests.conftest import NOW_MS

DAY_MS = 86_400_000
ENTROPY = SystemEntropy()


def load(home: Path, clock: ManualClock | None = None, passphrase: str | None = None) -> Keys:
    return service.load(
        home, entropy=ENTROPY, clock=clock or ManualClock(NOW_MS), passphrase=passphrase
    )


def rotate(home: Path, clock: ManualClock) -> Keys:
    return service.rotate(home, entropy=ENTROPY, clock=clock, passphrase=None)


def test_the_first_start_makes_the_ring_and_the_next_ones_open_it(tmp_path: Path) -> None:
    home = tmp_path / "keys"
    first, again = load(home), load(home, ManualClock(NOW_MS + DAY_MS))
    assert (first.root_key, first.kid, first.fingerprint) == (
        again.root_key, again.kid, again.fingerprint,
    )  # fmt: skip
    assert first.bundle == again.bundle
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert modes["trust.key"] == modes["machine.key"] == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    secret = first._ring.root.seed
    assert all(secret not in path.read_bytes() for path in home.iterdir())


def test_a_passphrase_seals_and_a_wrong_or_broken_one_opens_nothing(tmp_path: Path) -> None:
    load(tmp_path, passphrase="correct horse")
    assert not (tmp_path / "machine.key").exists()
    with pytest.raises(KeyStoreLocked):
        load(tmp_path, passphrase="wrong")
    (tmp_path / "trust.key").write_bytes(b"nonsense")
    with pytest.raises(KeyStoreDamaged):
        load(tmp_path, passphrase="correct horse")


async def test_the_root_vouches_for_the_current_and_the_next_key(tmp_path: Path) -> None:
    keys = load(tmp_path)
    signed = keys.bundle
    assert check_bundle(signed, signed.root_kid, keys.root_key, 1) is Verdict.ACCEPTED
    assert [entry.usages for entry in signed.bundle.entries] == ["ABCLY", "ABCLY"]
    message = allowance_message(keys.kid, b"A")
    sig = await keys.sign(message)
    now_s = NOW_MS // 1000
    assert check_issued(signed.bundle, keys.kid, "A", message, sig, now_s) is Verdict.ACCEPTED
    following = signed.bundle.entries[1].kid
    assert check_issued(signed.bundle, following, "A", message, sig) is Verdict.SIGNATURE


async def test_keys_take_turns_and_the_old_one_still_vouches_for_what_it_signed(
    tmp_path: Path,
) -> None:
    clock = ManualClock(NOW_MS)
    before = load(tmp_path, clock)
    with pytest.raises(DomainError) as caught:
        rotate(tmp_path, clock)
    assert caught.value.code == "trust.next_too_young"
    clock.advance(5 * DAY_MS)
    after = rotate(tmp_path, clock)
    assert load(tmp_path, clock).bundle == after.bundle
    old, current, following = after.bundle.bundle.entries
    assert (old.kid, old.usages) == (before.kid, "AC")
    assert (current.kid, current.usages) == (after.kid, "ABCLY")
    assert current.kid == before.bundle.bundle.entries[1].kid
    assert following.usages == "ABCLY"
    assert after.bundle.bundle.version == before.bundle.bundle.version + 1
    assert after.root_key == before.root_key
    message = allowance_message(before.kid, b"A")
    sig, bundle = await before.sign(message), after.bundle.bundle
    assert check_issued(bundle, before.kid, "A", message, sig) is Verdict.ACCEPTED
    assert check_issued(bundle, before.kid, "Y", message, sig) is Verdict.ISSUER_KEY_UNKNOWN


def govern(home: Path, *policies: Policy) -> tuple[Keys, bool]:
    return service.govern(home, policies, entropy=ENTROPY, passphrase=None)


def test_other_limits_are_a_new_bundle_and_the_same_ones_are_not(tmp_path: Path) -> None:
    before = load(tmp_path).bundle.bundle
    [inr] = before.policies
    same, new = govern(tmp_path, inr)
    assert (same.bundle.bundle.version, new) == (before.version, False)
    lower = replace(inr, risk=replace(inr.risk, hard_sum=600_000))
    usd = replace(inr, ccy="USD")
    after, new = govern(tmp_path, usd, lower)
    assert (after.bundle.bundle.policies, new) == ((lower, usd), True)
    assert after.bundle.bundle.version == before.version + 1
    assert load(tmp_path).bundle == after.bundle


@pytest.mark.parametrize("count", [0, 2])
def test_a_currency_has_one_policy(tmp_path: Path, count: int) -> None:
    [inr] = load(tmp_path).bundle.bundle.policies
    with pytest.raises(DomainError) as caught:
        govern(tmp_path, *[inr] * count)
    assert caught.value.code == "trust.policy"


def test_a_dead_key_leaves_the_bundle_and_too_many_living_ones_are_refused(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    load(tmp_path, clock)
    for _ in range(14):
        clock.advance(5 * DAY_MS)
        rotate(tmp_path, clock)
    clock.advance(5 * DAY_MS)
    with pytest.raises(DomainError) as caught:
        rotate(tmp_path, clock)
    assert caught.value.code == "trust.ring_full"
    clock.advance(KEY_LIFE_S * 1000)
    assert len(rotate(tmp_path, clock).bundle.bundle.entries) == 16


async def use(db: Database, keys: Keys, nonce: bytes) -> str:
    try:
        async with db.work() as work:
            await service.use_nonce(work, keys, nonce)
    except DomainError as refused:
        return refused.code
    return "used"


async def test_a_nonce_is_ours_fresh_and_used_once(db: Database, tmp_path: Path) -> None:
    keys, foreign = load(tmp_path / "a"), load(tmp_path / "b")
    nonce = keys.new_nonce(NOW_MS, ENTROPY)
    assert len(nonce) == 16
    results = await asyncio.gather(*(use(db, keys, nonce) for _ in range(5)))
    assert sorted(results) == ["trust.nonce_used"] * 4 + ["used"]
    stranger = foreign.new_nonce(NOW_MS, ENTROPY)
    longer = (int.from_bytes(nonce[:4]) + 1_000).to_bytes(4) + nonce[4:]
    for bad in (b"", bytes(16), nonce + b"\x00", stranger, longer):
        assert await use(db, keys, bad) == "trust.nonce_used"
    late = keys.new_nonce(NOW_MS, ENTROPY)
    db.clock = ManualClock(NOW_MS + 299_999)
    assert await use(db, keys, late) == "used"
    db.clock = ManualClock(NOW_MS + 300_000)
    assert await use(db, keys, keys.new_nonce(NOW_MS, ENTROPY)) == "trust.nonce_used"


async def test_used_nonces_are_stored_hashed_and_forgotten_when_over(
    db: Database, tmp_path: Path
) -> None:
    keys = load(tmp_path)
    nonce = keys.new_nonce(NOW_MS, SeededEntropy(1))
    assert await use(db, keys, nonce) == "used"
    async with db.reader() as reader:
        assert await reader.value("SELECT nonce FROM used_nonce") != nonce
    assert await jobs.tick(db) == 0
    db.clock = ManualClock(NOW_MS + 301_000)
    assert await jobs.tick(db) == 1
    assert await use(db, keys, nonce) == "trust.nonce_used"


def test_the_ring_of_another_release_is_named_so(tmp_path: Path) -> None:
    keys = load(tmp_path)
    held = structs.replace(keys._ring, version=9)
    assert ring.read(ring.dump(held)) == held
    import cbor2

    for foreign in ([], [1, 2, 3], [9, *[0] * 6]):
        with pytest.raises(KeyStoreDamaged):
            ring.read(cbor2.dumps(foreign))
