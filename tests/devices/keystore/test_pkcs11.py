"""The PKCS#11 key store on SoftHSM: the module's own files and locks, no stand-in of ours."""

import json
import shutil
from pathlib import Path

import cbor2
import pkcs11
import pytest
from pkcs11 import Attribute

from devices.keystore.pkcs11 import Pkcs11KeyStore
from devices.keystore.port import (
    CounterRefused,
    KeyStoreDamaged,
    KeyStoreError,
    KeyStoreLocked,
    PayloadRefused,
    Tier,
)
from devices.keystore.tokens import LOGINS
from offline.model import Algorithm
from offline.signing import check_public_key, verify_signature
from tests.devices.keystore.test_software import SCOPE, plain_payload, voucher_payload
from tests.softhsm import MODULE, PIN


def create(folder: Path, token: str, algorithm: Algorithm = Algorithm.ED25519) -> Pkcs11KeyStore:
    return Pkcs11KeyStore.create(folder, module=MODULE, token=token, pin=PIN, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_it_signs_what_ov1_takes_and_the_key_cannot_be_had(
    algorithm: Algorithm, token: str, tmp_path: Path
) -> None:
    store = create(tmp_path, token, algorithm)
    assert store.tier is Tier.TEE
    assert store.algorithm is algorithm
    assert check_public_key(store.public_key())
    for counter, payload in enumerate((voucher_payload(1), voucher_payload(2)), 1):
        signature = store.sign(counter, payload)
        assert verify_signature(algorithm, store.public_key(), payload, signature)
    assert store.counter(SCOPE) == 2
    proof = plain_payload("E")
    assert verify_signature(algorithm, store.public_key(), proof, store.sign_plain(proof))
    for kept in (store._key._key, store._mac):
        with pytest.raises(pkcs11.AttributeSensitive):
            _ = kept[Attribute.VALUE]


def test_a_counter_is_one_payloads_for_ever_also_after_opening_again(
    token: str, tmp_path: Path
) -> None:
    store = create(tmp_path, token)
    first = store.sign(1, voucher_payload(1))
    key = store.public_key()
    LOGINS.clear()
    pkcs11.lib(str(MODULE)).reinitialize()
    store = Pkcs11KeyStore.open(tmp_path, PIN)
    assert store.public_key() == key
    assert store.sign(1, voucher_payload(1)) == first
    for counter, payload in (
        (1, voucher_payload(1, terminal=b"ELSE")),
        (3, voucher_payload(3)),
        (2, voucher_payload(3)),
    ):
        with pytest.raises(CounterRefused):
            store.sign(counter, payload)
    with pytest.raises(PayloadRefused):
        store.sign_plain(voucher_payload(2))
    with pytest.raises(PayloadRefused):
        store.sign_plain(b"anything")


def test_counters_of_another_token_altered_or_gone_are_refused(
    token: str, tokens: Path, tmp_path: Path
) -> None:
    store = create(tmp_path / "here", token)
    store.sign(1, voucher_payload(1))
    counters = tmp_path / "here" / "counters.sealed"
    good = counters.read_bytes()
    forged = cbor2.dumps([[SCOPE, 0, bytes(32)]], canonical=True)
    for bad in (good[:32] + forged, bytes([good[0] ^ 1]) + good[1:], good[:10], b""):
        counters.write_bytes(bad)
        with pytest.raises(KeyStoreDamaged):
            Pkcs11KeyStore.open(tmp_path / "here", PIN)
    counters.unlink()
    with pytest.raises(KeyStoreDamaged):
        Pkcs11KeyStore.open(tmp_path / "here", PIN)
    shutil.rmtree(tmp_path / "here")


def test_a_second_key_a_wrong_pin_and_a_missing_token_are_told(token: str, tmp_path: Path) -> None:
    create(tmp_path, token)
    with pytest.raises(KeyStoreError, match="already holds"):
        create(tmp_path, token)
    with pytest.raises(KeyStoreLocked, match="PIN"):
        Pkcs11KeyStore.open(tmp_path, "000000")
    LOGINS.clear()
    pkcs11.lib(str(MODULE)).reinitialize()
    with pytest.raises(KeyStoreLocked, match="PIN"):
        Pkcs11KeyStore.open(tmp_path, "000000")
    for named, said in (
        ({"module": str(MODULE), "token": "no-such"}, "no such token"),
        ({"module": str(tmp_path / "no.so"), "token": token}, "cannot be read"),
        ({"module": "libsofthsm2.so", "token": token}, "cannot be read"),
        ({"module": str(MODULE)}, "does not name"),
        ([], "does not name"),
    ):
        (tmp_path / "token.json").write_text(json.dumps(named))
        with pytest.raises(KeyStoreError, match=said):
            Pkcs11KeyStore.open(tmp_path, PIN)


def test_a_module_that_others_may_write_is_not_loaded(token: str, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    shutil.copy(MODULE, module)
    module.chmod(0o666)
    with pytest.raises(KeyStoreError, match="nobody else may write"):
        Pkcs11KeyStore.create(tmp_path, module=module, token=token, pin=PIN)


def test_a_key_that_could_be_taken_out_is_not_opened(token: str, tmp_path: Path) -> None:
    store = create(tmp_path, token)
    store._mac.destroy()
    store._login.session.generate_key(
        pkcs11.KeyType.GENERIC_SECRET,
        key_length=256,
        mechanism=pkcs11.Mechanism.GENERIC_SECRET_KEY_GEN,
        label="hundi-device",
        store=True,
        capabilities=pkcs11.MechanismFlag.SIGN,
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )
    with pytest.raises(KeyStoreError, match="must be"):
        Pkcs11KeyStore.open(tmp_path, PIN)
