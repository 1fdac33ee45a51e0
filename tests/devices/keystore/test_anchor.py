"""Counters anchored in a TPM, on swtpm: a copy of the file that did not go on is never signed from."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devices.entropy import SystemEntropy
from devices.keystore import anchor, counters
from devices.keystore.anchor import TpmAnchor
from devices.keystore.counters import Counters
from devices.keystore.pkcs11 import Pkcs11KeyStore
from devices.keystore.port import CounterRefused, KeyStoreDamaged, KeyStoreError, Tier
from devices.keystore.tokens import TokenKey
from tests.devices.keystore.test_software import OTHER, SCOPE, voucher_payload
from tests.softhsm import MODULE, PIN
from tests.swtpm import Tpm


class PowerCutError(Exception):
    """The machine went out."""


def cut(*_: object, **__: object) -> None:
    raise PowerCutError


@pytest.fixture
def store(token: str, tpm: Tpm, tmp_path: Path) -> Pkcs11KeyStore:
    return Pkcs11KeyStore.create(tmp_path, module=MODULE, token=token, pin=PIN, tpm=tpm.tcti)


@pytest.fixture
def again(store: Pkcs11KeyStore, tmp_path: Path) -> Callable[[], Pkcs11KeyStore]:
    return lambda: Pkcs11KeyStore.open(tmp_path, PIN)


@pytest.fixture
def file(store: Pkcs11KeyStore, tmp_path: Path) -> Path:
    return tmp_path / "counters.sealed"


def value(store: Pkcs11KeyStore) -> bytes:
    assert store._anchor is not None
    return store._anchor.value()


def test_each_counter_is_a_step_that_is_not_taken_back(
    store: Pkcs11KeyStore, again: Callable[[], Pkcs11KeyStore], tpm: Tpm
) -> None:
    assert store.tier is Tier.HARDWARE_COUNTER
    seen = [value(store)]
    for counter in (1, 2):
        store.sign(counter, voucher_payload(counter))
        seen.append(value(store))
    store.sign(2, voucher_payload(2))  # the same payload again is no step
    assert [value(store), len(set(seen))] == [seen[-1], 3]
    tpm.stop()
    tpm.start()
    opened = again()
    assert (opened.tier, opened.counter(SCOPE)) == (Tier.HARDWARE_COUNTER, 2)
    opened.sign(3, voucher_payload(3))
    assert value(opened) not in seen


@pytest.mark.parametrize(
    ("where", "name", "taken"),
    [(counters, "write_durably", 0), (TpmAnchor, "extend", 1), (TokenKey, "sign", 1)],
    ids=["before the file", "between file and TPM", "before the signature"],
)
def test_cut_off_at_any_step_it_goes_on(
    where: object, name: str, taken: int, store: Pkcs11KeyStore,
    again: Callable[[], Pkcs11KeyStore], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(where, name, cut)
        with pytest.raises(PowerCutError):
            store.sign(1, voucher_payload(1))
    opened = again()
    assert opened.counter(SCOPE) == taken
    if taken:
        with pytest.raises(CounterRefused):
            opened.sign(1, voucher_payload(1, terminal=b"ELSE"))
    opened.sign(1, voucher_payload(1))
    opened.sign(2, voucher_payload(2))
    assert again().counter(SCOPE) == 2


@pytest.mark.parametrize("behind", [1, 2])
def test_an_older_copy_of_the_counters_is_refused(
    behind: int, store: Pkcs11KeyStore, again: Callable[[], Pkcs11KeyStore], file: Path
) -> None:
    store.sign(1, voucher_payload(1))
    older = file.read_bytes()
    for counter in range(2, 2 + behind):
        store.sign(counter, voucher_payload(counter))
    newest = file.read_bytes()
    file.write_bytes(older)
    with pytest.raises(KeyStoreDamaged, match="older copy"):
        again()
    with pytest.raises(KeyStoreDamaged, match="older copy"):
        store.sign(2, voucher_payload(2, terminal=b"ELSE"))
    file.write_bytes(newest)
    assert again().counter(SCOPE) == 1 + behind


def test_of_two_files_for_one_counter_only_the_one_that_went_on_is_believed(
    store: Pkcs11KeyStore, again: Callable[[], Pkcs11KeyStore], file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A plain counter would believe both: each was written for the same number."""
    before = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(TpmAnchor, "extend", cut)
        with pytest.raises(PowerCutError):
            store.sign(1, voucher_payload(1))
    first = file.read_bytes()
    file.write_bytes(before)
    again().sign(1, voucher_payload(1, terminal=b"ELSE"))
    file.write_bytes(first)
    with pytest.raises(KeyStoreDamaged, match="older copy"):
        again()


def test_another_tpm_a_cleared_one_and_an_index_made_anew_are_refused(
    store: Pkcs11KeyStore, again: Callable[[], Pkcs11KeyStore], tpm: Tpm,
    new_tpm: Callable[[], Tpm], tmp_path: Path,
) -> None:  # fmt: skip
    store.sign(1, voucher_payload(1))
    named = json.loads((tmp_path / "token.json").read_text())
    index = f"{named['tpm']['index']:#x}"
    other = new_tpm()
    (tmp_path / "token.json").write_text(
        json.dumps(named | {"tpm": named["tpm"] | {"tcti": other.tcti}})
    )
    with pytest.raises(KeyStoreDamaged, match="cleared, or is another"):
        again()
    (tmp_path / "token.json").write_text(json.dumps(named))
    assert again().counter(SCOPE) == 1
    tpm.tool("tpm2_nvundefine", "-C", "o", index)
    with pytest.raises(KeyStoreDamaged, match="cleared, or is another"):
        again()
    attributes = "authread|authwrite|no_da|nt=extend"
    tpm.tool("tpm2_nvdefine", "-C", "o", "-g", "sha256", "-s", "32", "-a", attributes, index)
    with pytest.raises(KeyStoreDamaged, match="cleared, or is another"):
        again()
    tpm.tool("tpm2_nvundefine", "-C", "o", index)
    assert store._anchor is not None
    store._anchor.define(SystemEntropy())  # by who has the token
    with pytest.raises(KeyStoreDamaged, match="older copy"):
        again()
    tpm.tool("tpm2_clear", "-c", "p")
    with pytest.raises(KeyStoreDamaged, match="cleared, or is another"):
        again()


def test_an_anchor_is_not_dropped_by_forgetting_its_name(
    store: Pkcs11KeyStore, again: Callable[[], Pkcs11KeyStore], tmp_path: Path
) -> None:
    file = tmp_path / "token.json"
    named = json.loads(file.read_text())
    file.write_text(json.dumps({name: named[name] for name in ("module", "token")}))
    with pytest.raises(KeyStoreDamaged, match="anchored in a TPM"):
        again()
    for bad in (None, {}, {"tcti": "libevil.so:", "index": named["tpm"]["index"]},
                {"tcti": "device:/dev/tpm0/../sda", "index": named["tpm"]["index"]},
                named["tpm"] | {"index": 1}, named["tpm"] | {"index": "0x01800001"}):  # fmt: skip
        file.write_text(json.dumps(named | {"tpm": bad}))
        with pytest.raises(KeyStoreDamaged, match="does not name"):
            again()


def test_counters_that_were_never_anchored_do_not_pass_for_anchored(
    store: Pkcs11KeyStore, again: Callable[[], Pkcs11KeyStore], tmp_path: Path
) -> None:
    Counters(tmp_path, seal=store._tagged, unseal=store._untagged).begin()
    with pytest.raises(KeyStoreDamaged, match="not anchored"):
        again()


_SIGNER = """
import sys
from pathlib import Path
from devices.keystore.anchor import TpmAnchor
from devices.keystore.counters import Counters
from tests.devices.keystore.test_software import voucher_payload
folder, tcti, index, scope = sys.argv[1:]
anchor = TpmAnchor(tcti=tcti, index=int(index), auth=bytes(32))
held = Counters(Path(folder), seal=bytes, unseal=bytes, anchor=anchor)
for counter in range(1, 6):
    held.take(counter, voucher_payload(counter, scope=bytes.fromhex(scope)))
"""


def test_two_processes_at_once_step_in_turn(tpm: Tpm, tmp_path: Path) -> None:
    name = TpmAnchor.named(tpm.tcti, SystemEntropy())
    one = TpmAnchor(**name, auth=bytes(32))
    one.define(SystemEntropy())
    held = Counters(tmp_path, seal=bytes, unseal=bytes, anchor=one)
    held.begin()
    words = (str(tmp_path), tpm.tcti, str(name["index"]))
    both = [
        subprocess.Popen([sys.executable, "-c", _SIGNER, *words, scope.hex()])
        for scope in (SCOPE, OTHER)
    ]
    while any(child.poll() is None for child in both):
        held.read()  # who only looks makes no step of theirs twice
    assert [child.returncode for child in both] == [0, 0]
    assert (held.at(SCOPE), held.at(OTHER)) == (5, 5)


def test_what_is_wrong_with_the_tpm_is_told_within_a_bound(
    store: Pkcs11KeyStore, again: Callable[[], Pkcs11KeyStore], tpm: Tpm, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tools = tmp_path / "tools"
    tools.mkdir()
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tools))
        with pytest.raises(KeyStoreError, match="install tpm2-tools"):
            again()
        patched.setattr(anchor, "_TIMEOUT_S", 0.2)
        (tools / "tpm2_nvread").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
        (tools / "tpm2_nvread").chmod(0o755)
        with pytest.raises(KeyStoreError, match="did not answer"):
            again()
    tpm.stop()
    with pytest.raises(KeyStoreError, match="the TPM failed"):
        again()
    with pytest.raises(KeyStoreError, match="the TPM failed"):
        TpmAnchor.named(tpm.tcti, SystemEntropy())
    for bad in ("libevil.so:", "/etc/passwd", "device:/dev/sda", ""):
        with pytest.raises(KeyStoreError, match="/dev/tpmrm0"):
            TpmAnchor.named(bad, SystemEntropy())
