"""Keys: made once, sealed, opened again; nonces: ours, in time, once."""

import threading
from pathlib import Path

import pytest

from devices.clock import ManualClock
from devices.entropy import SystemEntropy
from devices.keystore.port import KeyStoreDamaged, KeyStoreLocked
from offline.trust import check_bundle
from offline.verdicts import Verdict
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.trust import jobs, service
from tests.conftest import NOW_MS

ENTROPY = SystemEntropy()


def load(home: Path, passphrase: str | None = None) -> service.Keys:
    return service.load(home, entropy=ENTROPY, clock=ManualClock(NOW_MS), passphrase=passphrase)


def test_the_ring_is_made_once_and_opened_again(tmp_path: Path) -> None:
    first, again = load(tmp_path), load(tmp_path)
    assert first.root_key == again.root_key
    assert first.bundle.to_bytes() == again.bundle.to_bytes()
    assert (tmp_path / "trust.key").stat().st_mode & 0o777 == 0o600
    assert bytes(first._ring.root.seed) not in (tmp_path / "trust.key").read_bytes()


def test_two_first_starts_at_once_make_one_ring(tmp_path: Path) -> None:
    made: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: made.append(load(tmp_path).root_key)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1


def test_a_wrong_passphrase_is_named(tmp_path: Path) -> None:
    load(tmp_path, "right")
    with pytest.raises(KeyStoreLocked):
        load(tmp_path, "wrong")
    (tmp_path / "trust.key").write_bytes(b"rust")
    with pytest.raises(KeyStoreDamaged):
        load(tmp_path, "right")


def test_the_bundle_is_the_roots_and_holds_the_next_key(tmp_path: Path) -> None:
    keys = load(tmp_path)
    signed = keys.bundle
    assert check_bundle(signed, signed.root_kid, keys.root_key, 0) is Verdict.ACCEPTED
    assert len(signed.bundle.entries) == 2
    assert signed.bundle.entry(keys.kid, "A") is not None
    assert load(tmp_path / "other").root_key != keys.root_key


async def test_a_nonce_is_ours_in_time_and_once(db: Database, tmp_path: Path) -> None:
    keys, other = load(tmp_path / "a"), load(tmp_path / "b")

    async def use(nonce: bytes) -> str:
        try:
            async with db.work() as work:
                await service.use_nonce(work, keys, nonce)
        except DomainError as refused:
            return refused.code
        return "used"

    nonce = keys.new_nonce(NOW_MS, ENTROPY)
    flipped = nonce[:-1] + bytes([nonce[-1] ^ 1])
    for wrong in (b"", bytes(16), flipped, other.new_nonce(NOW_MS, ENTROPY), nonce + b"\0"):
        assert await use(wrong) == "trust.nonce_used"
    assert [await use(nonce), await use(nonce)] == ["used", "trust.nonce_used"]
    late = keys.new_nonce(NOW_MS, ENTROPY)
    db.clock.advance(300_000)
    assert await use(late) == "trust.nonce_used"
    assert await jobs.tick(db) == 0
    db.clock.advance(2_000)
    assert await jobs.tick(db) == 1
    assert await use(nonce) == "trust.nonce_used"
