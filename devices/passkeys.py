"""Passkey ceremonies: what an authenticator is asked, and whether its answer holds. No database, no clock.

The library checks signatures, origin, rp id and presence; beyond it a person must have been verified, the
page must be its own top, and whether a key may be synced must stay as it was. Source: W3C Web Authentication
level 3, sections 7.1 and 7.2; RFC 8949 for what is kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import webauthn
from webauthn.helpers import (
    base64url_to_bytes,
    parse_authentication_credential_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

ANSWER_MAX: Final = 16_384
HANDLE_SIZE: Final = 32
CHALLENGE_SIZE: Final = 32
TIMEOUT_MS: Final = 120_000
_CREDENTIAL_MAX: Final = 1_023
_BROKEN: Final = (
    WebAuthnException,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What reading somebody's JSON and CBOR may raise."""
_ALGORITHMS: Final = [COSEAlgorithmIdentifier.EDDSA, COSEAlgorithmIdentifier.ECDSA_SHA_256]


class PasskeyRefused(Exception):  # noqa: N818
    """The answer does not hold; `code` is stable, the message for its developer."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class RelyingParty:
    """Who asks: `id` is a domain, `origins` are those of its own pages."""

    id: str
    name: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """A public key credential as it is kept.

    credential: at most 1,023 bytes. public_key: COSE. sign_count 0: its authenticator does not count.
    synced: it may leave its device (backup eligible), for good or bad for ever; backed_up: it has.
    """

    credential: bytes
    public_key: bytes
    sign_count: int
    synced: bool
    backed_up: bool
    aaguid: str
    attestation: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What an answer says of itself before anything is checked: its credential and the user's handle."""

    credential: bytes
    handle: bytes | None


def creation_options(
    party: RelyingParty, *, handle: bytes, name: str, challenge: bytes, known: Sequence[bytes]
) -> dict[str, Any]:
    """What `navigator.credentials.create` is given: discoverable, with the person verified."""
    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_id=handle,
        user_name=name,
        user_display_name=name,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        attestation=AttestationConveyancePreference.DIRECT,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
        supported_pub_key_algs=_ALGORITHMS,
    )
    return _plain(options)


def request_options(
    party: RelyingParty, *, challenge: bytes, allowed: Sequence[bytes] = ()
) -> dict[str, Any]:
    """What `navigator.credentials.get` is given; with nobody `allowed` the person chooses the passkey."""
    options = webauthn.generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        allow_credentials=[PublicKeyCredentialDescriptor(id=one) for one in allowed] or None,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return _plain(options)


def check_created(party: RelyingParty, answer: str, challenge: bytes) -> Passkey:
    """Give the new passkey of a registration; raises PasskeyRefused."""
    _sized(answer)
    try:
        _own_page(parse_registration_credential_json(answer).response.client_data_json)
        found = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
    except _BROKEN as e:
        raise PasskeyRefused("passkeys.refused", f"the new passkey does not hold: {e}") from e
    if len(found.credential_id) > _CREDENTIAL_MAX:
        raise PasskeyRefused("passkeys.refused", "a credential's name is at most 1,023 bytes")
    return Passkey(
        credential=found.credential_id,
        public_key=found.credential_public_key,
        sign_count=found.sign_count,
        synced=found.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        backed_up=found.credential_backed_up,
        aaguid=found.aaguid,
        attestation=found.attestation_object,
    )


def read_assertion(answer: str) -> Named:
    """Say which passkey an answer names; raises PasskeyRefused."""
    _sized(answer)
    try:
        read = parse_authentication_credential_json(answer)
    except _BROKEN as e:
        raise PasskeyRefused("passkeys.malformed", "this is no answer of a passkey") from e
    return Named(credential=read.raw_id, handle=read.response.user_handle)


def check_asserted(party: RelyingParty, answer: str, challenge: bytes, kept: Passkey) -> Passkey:
    """Give the passkey as it is to be kept after this use of it; raises PasskeyRefused."""
    named = read_assertion(answer)
    if named.credential != kept.credential:
        raise PasskeyRefused("passkeys.refused", "the answer is of another passkey")
    try:
        _own_page(parse_authentication_credential_json(answer).response.client_data_json)
        found = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            credential_public_key=kept.public_key,
            credential_current_sign_count=kept.sign_count,
            require_user_verification=True,
        )
    except _BROKEN as e:
        raise PasskeyRefused("passkeys.refused", f"the passkey's answer does not hold: {e}") from e
    if (found.credential_device_type is CredentialDeviceType.MULTI_DEVICE) != kept.synced:
        raise PasskeyRefused("passkeys.refused", "whether this passkey may be synced has changed")
    return replace(kept, sign_count=found.new_sign_count, backed_up=found.credential_backed_up)


def challenge_of(answer: str) -> bytes:
    """Give the challenge that an answer says it is for, so that it can be looked up; nothing is checked."""
    _sized(answer)
    try:
        data = json.loads(answer)["response"]["clientDataJSON"]
        said = json.loads(base64url_to_bytes(data))["challenge"]
        return base64url_to_bytes(said)
    except _BROKEN as e:
        raise PasskeyRefused("passkeys.malformed", "this is no answer of a passkey") from e


def _own_page(client_data: bytes) -> None:
    """Refuse what was asked inside somebody else's page, whatever the origin of the inner one."""
    said = json.loads(client_data)
    if said.get("crossOrigin") not in {None, False} or said.get("topOrigin") is not None:
        raise PasskeyRefused("passkeys.refused", "a passkey is used on our own pages only")


def _sized(answer: str) -> None:
    if len(answer) > ANSWER_MAX:
        raise PasskeyRefused("passkeys.malformed", f"an answer is at most {ANSWER_MAX} characters")


def _plain(options: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(webauthn.options_to_json(options))
    return plain
