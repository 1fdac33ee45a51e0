import hashlib
import shutil
from pathlib import Path

import cbor2
import nacl.signing
import pytest

from devices.entropy import SystemEntropy
from devices.keystore.port import (
    CounterRefused,
    CounterState,
    KeyStoreDamaged,
    KeyStoreError,
    KeyStoreLocked,
    PayloadRefused,
    Tier,
    advance,
)
from devices.keystore.sealed import CHEAPEST, machine_passphrase, seal, unseal, write_durably
from devices.keystore.software import SoftwareKeyStore

SCOPE = hashlib.sha256(b"an allowance").digest()
OTHER = hashlib.sha256(b"another allowance").digest()


def voucher_payload(counter: int, terminal: bytes = b"TERM", scope: bytes = SCOPE) -> bytes:
    body = cbor2.dumps(
        [1, counter, 100, 100 * counter, b"payee-id", terminal, b"nonce-01", 1, bytes(8)],
        canonical=True,
    )
    return cbor2.dumps(["OV1", "V", scope, body], canonical=True)


def plain_payload(kind: str) -> bytes:
    return cbor2.dumps(["OV1", kind, bytes(32), b"body"], canonical=True)


@pytest.fixture
def store(tmp_path: Path) -> SoftwareKeyStore:
    return SoftwareKeyStore.create(tmp_path / "keys", b"correct horse", cost=CHEAPEST)


def state(counter: int, payload: bytes) -> CounterState:
    return CounterState(counter=counter, payload_hash=hashlib.sha256(payload).digest())


@pytest.mark.parametrize(
    ("stored", "counter", "payload", "outcome"),
    [
        (None, 1, b"a", "advances"),
        (None, 0, b"a", "refuses"),
        (None, 2, b"a", "refuses"),
        (state(1, b"a"), 1, b"a", "repeats"),
        (state(1, b"a"), 1, b"b", "refuses"),
        (state(1, b"a"), 2, b"b", "advances"),
        (state(1, b"a"), 2, b"a", "advances"),
        (state(2, b"b"), 1, b"a", "refuses"),
        (state(2, b"b"), 4, b"a", "refuses"),
        (state(2, b"b"), -1, b"a", "refuses"),
        (state(65_534, b"b"), 65_535, b"a", "advances"),
        (state(65_535, b"b"), 65_536, b"a", "refuses"),
    ],
)
def test_the_counter_table(stored: CounterState | None, counter: int, payload: bytes, outcome: str):
    if outcome == "refuses":
        with pytest.raises(CounterRefused):
            advance(stored, counter, payload)
    else:
        following = advance(stored, counter, payload)
        expected = state(counter, payload) if outcome == "advances" else None
        assert following == expected


def test_signs_the_next_counter_and_the_same_payload_again(store: SoftwareKeyStore):
    payload = voucher_payload(1)
    first = store.sign(1, payload)
    nacl.signing.VerifyKey(store.public_key()).verify(payload, first)
    assert store.sign(1, payload) == first
    assert store.counter(SCOPE) == 1


def test_refuses_another_payload_at_a_used_counter_and_keeps_its_state(store: SoftwareKeyStore):
    store.sign(1, voucher_payload(1))
    with pytest.raises(CounterRefused):
        store.sign(1, voucher_payload(1, terminal=b"ELSE"))
    with pytest.raises(CounterRefused):
        store.sign(3, voucher_payload(3))
    assert store.counter(SCOPE) == 1
    store.sign(2, voucher_payload(2))
    with pytest.raises(CounterRefused):
        store.sign(1, voucher_payload(1))


def test_each_allowance_has_its_own_counter(store: SoftwareKeyStore):
    store.sign(1, voucher_payload(1))
    store.sign(1, voucher_payload(1, scope=OTHER))
    assert (store.counter(SCOPE), store.counter(OTHER)) == (1, 1)


def test_the_counter_in_the_payload_must_be_the_one_that_is_advanced(store: SoftwareKeyStore):
    store.sign(1, voucher_payload(1))
    with pytest.raises(CounterRefused):
        store.sign(2, voucher_payload(1, terminal=b"ELSE"))
    assert store.counter(SCOPE) == 1


@pytest.mark.parametrize("kind", ["E", "Z", "R", "P", "X", "S"])
def test_the_plain_signer_signs_only_plain_kinds(store: SoftwareKeyStore, kind: str):
    payload = plain_payload(kind)
    signature = store.sign_plain(payload)
    nacl.signing.VerifyKey(store.public_key()).verify(payload, signature)
    with pytest.raises(PayloadRefused):
        store.sign(1, payload)


@pytest.mark.parametrize("kind", ["A", "C", "Y", "B", "L", "T", "J", "", "v"])
def test_the_plain_signer_signs_no_kind_of_the_server(store: SoftwareKeyStore, kind: str):
    with pytest.raises(PayloadRefused):
        store.sign_plain(plain_payload(kind))


def test_the_plain_signer_refuses_a_voucher(store: SoftwareKeyStore):
    with pytest.raises(PayloadRefused):
        store.sign_plain(voucher_payload(1))
    assert store.counter(SCOPE) == 0


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"a bare nonce 16b",
        cbor2.dumps(["OV1"]),
        cbor2.dumps(["OV2", "V", SCOPE, b""]),
        cbor2.dumps(["OV1", "V", SCOPE[:31], b""]),
        cbor2.dumps(["OV1", "V", SCOPE, b"\x00"]),
        cbor2.dumps(["OV1", "V", SCOPE, cbor2.dumps([1, True])]),
        voucher_payload(1) + b"\x00",
        b"\x98\x04" + voucher_payload(1)[1:],
        bytes(5_000),
    ],
)
def test_neither_signer_signs_bytes_it_cannot_read_in_one_way(
    store: SoftwareKeyStore, payload: bytes
):
    with pytest.raises(PayloadRefused):
        store.sign(1, payload)
    with pytest.raises(PayloadRefused):
        store.sign_plain(payload)


def test_reopens_with_its_counter_and_stays_private(store: SoftwareKeyStore, tmp_path: Path):
    store.sign(1, voucher_payload(1))
    again = SoftwareKeyStore.open(tmp_path / "keys", b"correct horse")
    assert again.public_key() == store.public_key()
    assert again.tier is Tier.SOFTWARE
    with pytest.raises(CounterRefused):
        again.sign(1, voucher_payload(1, terminal=b"ELSE"))
    for file in (tmp_path / "keys").iterdir():
        assert file.stat().st_mode & 0o077 == 0


def test_two_open_stores_of_one_folder_share_the_counter(store: SoftwareKeyStore, tmp_path: Path):
    other = SoftwareKeyStore.open(tmp_path / "keys", b"correct horse")
    other.sign(1, voucher_payload(1))
    with pytest.raises(CounterRefused):
        store.sign(1, voucher_payload(1, terminal=b"ELSE"))


def test_a_wrong_passphrase_and_damaged_files_are_named(store: SoftwareKeyStore, tmp_path: Path):
    folder = tmp_path / "keys"
    with pytest.raises(KeyStoreLocked):
        SoftwareKeyStore.open(folder, b"wrong")
    with pytest.raises(KeyStoreError):
        SoftwareKeyStore.create(folder, b"correct horse", cost=CHEAPEST)
    counters = (folder / "counters.sealed").read_bytes()
    (folder / "counters.sealed").unlink()
    with pytest.raises(KeyStoreDamaged):
        SoftwareKeyStore.open(folder, b"correct horse")
    write_durably(folder / "counters.sealed", counters[:-1] + bytes([counters[-1] ^ 1]))
    with pytest.raises(KeyStoreDamaged):
        SoftwareKeyStore.open(folder, b"correct horse")
    with pytest.raises(KeyStoreDamaged):
        store.sign(1, voucher_payload(1))


def test_a_copied_folder_is_a_clone_that_this_tier_cannot_stop(
    store: SoftwareKeyStore, tmp_path: Path
):
    shutil.copytree(tmp_path / "keys", tmp_path / "copy")
    clone = SoftwareKeyStore.open(tmp_path / "copy", b"correct horse")
    one, two = voucher_payload(1, b"ONE!"), voucher_payload(1, b"TWO!")
    signatures = store.sign(1, one), clone.sign(1, two)
    key = nacl.signing.VerifyKey(store.public_key())
    assert key.verify(one, signatures[0]) == one
    assert key.verify(two, signatures[1]) == two


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 40,
        cbor2.dumps(["hundi-sealed", 2, 1, 8192, bytes(16), b""]),
        cbor2.dumps(["hundi-sealed", 1, 1, 1 << 40, bytes(16), b""]),
        cbor2.dumps(["hundi-sealed", 1, 99, 8192, bytes(16), b""]),
        cbor2.dumps(["hundi-sealed", 1, True, 8192, bytes(16), b""]),
        cbor2.dumps({"a": 1}),
    ],
)
def test_a_foreign_sealed_file_is_refused_before_it_costs_anything(data: bytes):
    with pytest.raises(KeyStoreDamaged):
        unseal(data, b"any")


def test_sealing_is_reversible_only_with_the_passphrase():
    sealed = seal(b"secret", b"pass", cost=CHEAPEST, entropy=SystemEntropy())
    assert unseal(sealed, b"pass") == b"secret"
    assert b"secret" not in sealed
    with pytest.raises(KeyStoreLocked):
        unseal(sealed, b"Pass")


def test_the_machine_passphrase_is_made_once_and_private(tmp_path: Path):
    path = tmp_path / "machine.key"
    made = machine_passphrase(path, SystemEntropy())
    assert len(made) == 64
    assert machine_passphrase(path, SystemEntropy()) == made
    assert path.stat().st_mode & 0o777 == 0o600
