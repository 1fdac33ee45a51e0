"""Passkey ceremonies: what holds, and every way in which an answer that looks right must not."""

import json
from dataclasses import replace
from typing import Any

import pytest

from devices.entropy import SeededEntropy
from devices.passkeys import (
    ANSWER_MAX,
    Passkey,
    PasskeyRefused,
    RelyingParty,
    challenge_of,
    check_asserted,
    check_created,
    creation_options,
    read_assertion,
    request_options,
)
from tests.authenticator import BE, BS, UP, UV, Authenticator, b64, unb64

ORIGIN = "https://pay.example"
PARTY = RelyingParty(id="pay.example", name="Hundi", origins=(ORIGIN,))
CHANCE = SeededEntropy("passkeys")


def asked(known: tuple[bytes, ...] = ()) -> tuple[bytes, dict[str, Any]]:
    challenge = CHANCE.bytes(32)
    return challenge, creation_options(
        PARTY, handle=CHANCE.bytes(32), name="Asha", challenge=challenge, known=known
    )


def made(device: Authenticator) -> Passkey:
    challenge, options = asked()
    return check_created(PARTY, device.create(options), challenge)


def used(device: Authenticator, kept: Passkey) -> Passkey:
    challenge = CHANCE.bytes(32)
    answer = device.get(request_options(PARTY, challenge=challenge))
    return check_asserted(PARTY, answer, challenge, kept)


def test_a_passkey_is_made_and_used():
    device = Authenticator(ORIGIN)
    kept = made(device)
    assert (kept.credential, kept.synced, kept.backed_up) == (device.credential, False, False)
    kept = used(device, kept)
    assert kept.sign_count == 1
    assert used(device, kept).sign_count == 2


def test_it_is_asked_to_be_discoverable_and_to_verify_the_person():
    _, options = asked(known=(b"one", b"two"))
    chosen = options["authenticatorSelection"]
    assert (chosen["residentKey"], chosen["userVerification"]) == ("required", "required")
    assert [unb64(one["id"]) for one in options["excludeCredentials"]] == [b"one", b"two"]
    assert request_options(PARTY, challenge=bytes(32))["userVerification"] == "required"
    assert not request_options(PARTY, challenge=bytes(32)).get("allowCredentials")


def test_a_synced_one_says_so_and_does_not_count():
    device = Authenticator(ORIGIN, flags=UP | UV | BE, counts=False)
    kept = made(device)
    assert (kept.synced, kept.backed_up) == (True, False)
    device.flags |= BS
    kept = used(device, kept)
    assert (kept.backed_up, kept.sign_count) == (True, 0)


LIES = {
    "nobody verified": {"flags": UP},
    "nobody present": {"flags": UV},
    "another origin": {"origin": "https://pay.example.evil"},
    "a port": {"origin": ORIGIN + ":8443"},
    "plain": {"origin": "http://pay.example"},
    "in a frame": {"client": {"crossOrigin": True}},
    "under another page": {"client": {"topOrigin": "https://evil.example"}},
    "in a frame, said oddly": {"client": {"crossOrigin": "true"}},
    "another challenge": {"client": {"challenge": b64(bytes(32))}},
    "another ceremony": {"client": {"type": "webauthn.other"}},
    "backed up and not eligible": {"flags": UP | UV | BS},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_registration_that_lies_is_refused(lie: dict[str, Any]):
    device = Authenticator(**{"origin": ORIGIN} | lie)
    challenge, options = asked()
    with pytest.raises(PasskeyRefused):
        check_created(PARTY, device.create(options), challenge)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_assertion_that_lies_is_refused(lie: dict[str, Any]):
    device = Authenticator(ORIGIN)
    kept = made(device)
    for name, value in lie.items():
        setattr(device, name, value)
    with pytest.raises(PasskeyRefused):
        used(device, kept)


def test_whether_it_may_be_synced_never_changes():
    device = Authenticator(ORIGIN)
    kept = made(device)
    device.flags |= BE
    with pytest.raises(PasskeyRefused, match="synced"):
        used(device, kept)
    with pytest.raises(PasskeyRefused, match="synced"):
        used(Authenticator(ORIGIN, key=device.key, credential=device.credential), replace(kept, synced=True))  # fmt: skip


def test_a_count_that_goes_back_is_a_copy():
    device = Authenticator(ORIGIN)
    kept = used(device, made(device))
    device.count = 0
    with pytest.raises(PasskeyRefused, match="count"):
        used(device, kept)


def test_another_key_another_site_another_passkey():
    device = Authenticator(ORIGIN)
    kept = made(device)
    with pytest.raises(PasskeyRefused):
        used(Authenticator(ORIGIN, credential=device.credential), kept)
    with pytest.raises(PasskeyRefused, match="another passkey"):
        used(Authenticator(ORIGIN, key=device.key), kept)
    challenge = CHANCE.bytes(32)
    elsewhere = replace(PARTY, id="example")
    answer = device.get(request_options(elsewhere, challenge=challenge))
    with pytest.raises(PasskeyRefused):
        check_asserted(PARTY, answer, challenge, kept)


def test_an_answer_is_good_for_its_own_challenge():
    device = Authenticator(ORIGIN)
    kept = made(device)
    answer = device.get(request_options(PARTY, challenge=bytes(32)))
    assert challenge_of(answer) == bytes(32)
    assert read_assertion(answer).handle == device.handle
    with pytest.raises(PasskeyRefused):
        check_asserted(PARTY, answer, bytes(31) + b"1", kept)


def without(answer: str, name: str) -> str:
    said = json.loads(answer)
    del said["response"][name]
    return json.dumps(said)


def test_what_is_no_answer_is_refused_and_nothing_else():
    device = Authenticator(ORIGIN)
    kept = made(device)
    good = device.get(request_options(PARTY, challenge=bytes(32)))
    bad = [
        "", "{", "[]", "null", "5", '{"response": 5}', "[" * 5_000, "x" * (ANSWER_MAX + 1),
        good.replace('"public-key"', '"other"'), good[:-10],
        *(without(good, name) for name in ("clientDataJSON", "authenticatorData", "signature")),
        json.dumps(json.loads(good) | {"rawId": "!!"}),
    ]  # fmt: skip
    for answer in bad:
        with pytest.raises(PasskeyRefused):
            check_asserted(PARTY, answer, bytes(32), kept)
        with pytest.raises(PasskeyRefused):
            check_created(PARTY, answer, bytes(32))
    for answer in bad[:8]:
        with pytest.raises(PasskeyRefused):
            challenge_of(answer)
        with pytest.raises(PasskeyRefused):
            read_assertion(answer)
