"""The agents' door as the payer's app sees it, over fixed keys; what was asked is kept for the test."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from offline import codec, signing
from offline.model import Algorithm
from tests.offline import kit

PARTY = bytes(range(16, 32))
TIERS = {
    "hardware_counter": {"cap_total": "200000", "cap_each": "50000"},
    "software": {"cap_total": "100000", "cap_each": "50000"},
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Edge:
    """One payer's session. `lose` names a path whose next answer is lost on the way, after it was done."""

    key: bytes = b""
    tier: str = "software"
    signed_in: bool = True
    lose: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    issued: dict[str, dict[str, str]] = field(default_factory=dict)

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body; 0 where the line is cut before the answer."""
        given = json.loads(body) if body else {}
        self.asked.append((path, given))
        if not self.signed_in:
            return 401, json.dumps({"code": "auth.required", "detail": "sign in"}).encode()
        if path == "/edge/bundle":
            return 200, kit.signed_bundle().to_bytes()
        if path == "/edge/tiers":
            return 200, json.dumps({"tiers": TIERS}).encode()
        made = json.dumps(self._made(path, given)).encode()
        if path == self.lose:
            self.lose = ""
            return 0, b""
        return 200, made

    def _made(self, path: str, given: Any) -> Any:
        match path:
            case "/edge/me":
                device = {"device": "dev_1", "label": "Browser", "tier": self.tier}
                live = [device] if self.key else []
                return {"party": b64(PARTY), "name": "Asha", "device": None, "devices": live}
            case "/edge/nonce":
                return {"nonce": b64(kit.SERVER_NONCE), "expires_in_s": 300}
            case "/edge/devices/enrol":
                return self._enrol(given)
            case "/edge/allowances":
                return self.issued.setdefault(given["idempotency_key"], self._issue(given))
            case "/edge/allowances/surrender":
                return {"state": "draining"}
            case "/edge/vouchers/witness":
                return {"recorded": len(given["vouchers"])}
            case "/edge/voids":
                return {"state": "refunded"}
        raise AssertionError(path)

    def _enrol(self, given: Any) -> Any:
        self.key = unb64(given["key"])
        message = signing.enrolment_message("payer", kit.SERVER_NONCE, self.key, PARTY)
        proof = unb64(given["proof"])
        assert signing.check_public_key(self.key)
        assert signing.verify_signature(Algorithm.ED25519, self.key, message, proof)
        return {
            "device": "dev_1", "root_key": b64(kit.ROOT.public),
            "bundle": b64(kit.signed_bundle().to_bytes()),
        }  # fmt: skip

    def _issue(self, given: Any) -> dict[str, str]:
        a = kit.allowance(
            aid=bytes([len(self.issued)]) * 16, device_key=self.key, ccy=given["currency"],
            cap_total=int(given["cap_total"]), cap_each=int(given["cap_each"]),
        )  # fmt: skip
        raw = codec.allowance_bytes(a)
        sig = kit.ISSUER.sign(signing.allowance_message(kit.KID, raw))
        return {"kid": b64(kit.KID), "allowance": b64(raw), "sig": b64(sig)}

    def bodies(self, path: str) -> list[Any]:
        return [body for asked, body in self.asked if asked == path]
