"""A software authenticator: makes passkeys and uses them as a browser's answers say, and lies where a test wants it to."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from devices.entropy import SystemEntropy

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """One passkey on one device. `flags` are those of each answer; `client` is what the browser adds."""

    origin: str
    flags: int = UP | UV
    counts: bool = True
    client: dict[str, Any] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: generate_private_key(SECP256R1()))
    credential: bytes = field(default_factory=lambda: SystemEntropy().bytes(32))
    handle: bytes = b""
    rp_id: str = ""
    count: int = 0

    def create(self, options: dict[str, Any]) -> str:
        """The answer to creation options."""
        self.rp_id, self.handle = options["rp"]["id"], unb64(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        named = bytes(16) + len(self.credential).to_bytes(2) + self.credential
        data = self._data(AT) + named + cbor2.dumps(cose)
        attested = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options["challenge"])
        return self._answer(
            {"clientDataJSON": b64(client), "attestationObject": b64(attested), "transports": []}
        )

    def get(self, options: dict[str, Any]) -> str:
        """The answer to request options."""
        self.rp_id = options["rpId"]
        self.count += self.counts
        data, client = self._data(0), self._client("webauthn.get", options["challenge"])
        signed = self.key.sign(data + hashlib.sha256(client).digest(), ECDSA(SHA256()))
        return self._answer(
            {
                "clientDataJSON": b64(client), "authenticatorData": b64(data),
                "signature": b64(signed), "userHandle": b64(self.handle),
            }
        )  # fmt: skip

    def _data(self, more: int) -> bytes:
        rp = hashlib.sha256(self.rp_id.encode()).digest()
        return rp + bytes([self.flags | more]) + self.count.to_bytes(4)

    def _client(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said | self.client).encode()

    def _answer(self, response: dict[str, Any]) -> str:
        name = b64(self.credential)
        return json.dumps(
            {
                "id": name, "rawId": name, "type": "public-key", "response": response,
                "clientExtensionResults": {}, "authenticatorAttachment": "platform",
            }
        )  # fmt: skip
