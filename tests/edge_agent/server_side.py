"""A small server on a real socket that answers the agent's door by the protocol, and loses what it is told to."""

import base64
import hashlib
from dataclasses import dataclass, field, replace

from devices.keystore.port import Tier
from offline.codec import revocations_bytes
from offline.journal import GENESIS, Accept, Apply, NewEpoch, VoidRow, chain, read_row
from offline.model import Beacon, Revocations
from offline.signing import (
    algorithm_of,
    beacon_message,
    enrolment_message,
    revocations_message,
    surrender_message,
    sync_answer_message,
    verify_signature,
)
from offline.sync import (
    ItemResult,
    SignedAnswer,
    SyncAnswer,
    SyncRequest,
    answer_bytes,
    check_sync_request,
)
from offline.verdicts import Verdict
from offline.verify import check_for_settlement
from offline.wire import (
    SignedAllowance,
    SignedBeacon,
    SignedRevocations,
    SignedVoid,
    SignedVoucher,
)
from tests.edge_agent.world import DAY_S, Issuer, World, sign


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class ProblemError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass
class KnownTerminal:
    key: bytes
    epoch: bytes | None = None
    chains: list[bytes] = field(default_factory=list)
    results: list[Verdict] = field(default_factory=list)
    history: dict[bytes, list[bytes]] = field(default_factory=dict)
    told_epoch: int = 0

    @property
    def head(self) -> bytes:
        return self.chains[-1] if self.chains else GENESIS


@dataclass
class ServerSide:
    """All state of the server; `lose_answers` and `refuse` are the faults."""

    world: World
    terminals: dict[bytes, KnownTerminal] = field(default_factory=dict)
    settled: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    nonces: set[bytes] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)
    revoked: list[bytes] = field(default_factory=list)
    allowances: dict[str, SignedAllowance] = field(default_factory=dict)
    issued_to: dict[bytes, SignedAllowance] = field(default_factory=dict)
    surrendered: list[tuple[int, int, bytes]] = field(default_factory=list)
    witnessed: set[bytes] = field(default_factory=set)
    voids: list[SignedVoid] = field(default_factory=list)
    batches: list[tuple[int, int, int]] = field(default_factory=list)
    payer_key: bytes = b""
    token: str = "session-token"
    lose_answers: int = 0
    lose_requests: int = 0
    spoil: str = ""
    # Bytes of an answer to a sync after which the line is cut; the length that is told is whole or cut.
    cut_after: int | None = None
    cut_told: bool = False
    last_answer: bytes = b""
    repeat_answer: bool = False
    lie_beacon: bytes | None = None

    @property
    def issuer(self) -> Issuer:
        return self.world.issuer

    @property
    def now_s(self) -> int:
        return self.world.clock.now_ms() // 1000

    def fingerprint(self) -> str:
        return hashlib.sha256(self.issuer.root_key).digest()[:16].hex()

    def new_nonce(self) -> bytes:
        nonce = self.world.entropy.bytes(16)
        self.nonces.add(nonce)
        return nonce

    def use_nonce(self, nonce: bytes) -> None:
        if nonce not in self.nonces:
            raise ProblemError(409, "trust.nonce_used")
        self.nonces.discard(nonce)

    # JSON routes

    def post(self, path: str, body: dict, token: str | None) -> dict:
        match path:
            case "/edge/nonce":
                return {"nonce": b64(self.new_nonce()), "expires_in_s": 300}
            case "/edge/terminals/enrol":
                return self.enrol_terminal(body)
            case "/edge/voids":
                self.voids.append(SignedVoid.from_text(body["void"]))
                return {"state": "applied"}
        if token != f"Bearer {self.token}":
            raise ProblemError(403, "sessions.unknown")
        match path:
            case "/edge/devices/enrol":
                return self.enrol_device(body)
            case "/edge/allowances":
                return self.issue(body)
            case "/edge/allowances/surrender":
                return self.surrender(body)
            case "/edge/vouchers/witness":
                self.witnessed |= {SignedVoucher.from_text(t).h for t in body["vouchers"]}
                return {"recorded": len(body["vouchers"])}
        raise ProblemError(404, "edge.no_route")

    def enrol_terminal(self, body: dict) -> dict:
        key, nonce = unb64(body["key"]), unb64(body["server_nonce"])
        self.use_nonce(nonce)
        message = enrolment_message("terminal", nonce, key, body["code"].encode())
        assert verify_signature(algorithm_of(key), key, message, unb64(body["proof"]))
        if body["code"] not in self.codes:
            raise ProblemError(404, "terminals.code_unknown")
        self.codes.discard(body["code"])
        terminal, payee = b"T" + self.world.entropy.bytes(3), b"PAYEE009"
        cert, sig = self.issuer.certificate(key, terminal, payee, "Ravi Tea")
        self.terminals[terminal] = KnownTerminal(key=key)
        return {
            "terminal": b64(terminal),
            "payee": b64(payee),
            "kid": b64(self.issuer.kid),
            "cert": b64(cert),
            "sig_cert": b64(sig),
            "root_key": b64(self.issuer.root_key),
            "bundle": b64(self.issuer.bundle().to_bytes()),
        }

    def enrol_device(self, body: dict) -> dict:
        key, nonce = unb64(body["key"]), unb64(body["server_nonce"])
        self.use_nonce(nonce)
        said = enrolment_message("payer", nonce, key, bytes(16))
        assert verify_signature(algorithm_of(key), key, said, unb64(body["proof"]))
        assert body["tier"] in set(Tier)
        self.payer_key = key
        return {
            "device": "dev_7",
            "root_key": b64(self.issuer.root_key),
            "bundle": b64(self.issuer.bundle().to_bytes()),
        }

    def issue(self, body: dict) -> dict:
        assert body["device"] == "dev_7"
        signed = self.allowances.get(body["idempotency_key"])
        if signed is None:
            if int(body["cap_total"]) > 200_000:
                raise ProblemError(403, "limits.too_large")
            signed = self.issuer.allowance(
                self.payer_key,
                cap_total=int(body["cap_total"]),
                cap_each=int(body["cap_each"]),
                ccy=body["currency"],
                not_before=self.now_s - 60,
                spend_until=self.now_s + DAY_S,
                settle_until=self.now_s + 4 * DAY_S,
            )
            self.allowances[body["idempotency_key"]] = signed
            self.issued_to[signed.allowance.aid] = signed
        return {
            "kid": b64(signed.kid),
            "allowance": b64(signed.allowance_raw),
            "sig": b64(signed.sig_a),
        }

    def surrender(self, body: dict) -> dict:
        signed = self.issued_to[unb64(body["aid"])]
        h = unb64(body["h"])
        message = surrender_message(signed.allowance_raw, body["counter"], body["cum"], h)
        key = signed.allowance.device_key
        assert verify_signature(algorithm_of(key), key, message, unb64(body["sig"]))
        self.surrendered.append((body["counter"], body["cum"], h))
        return {"state": "draining"}

    # Sync

    def sync(self, data: bytes) -> bytes:
        request = SyncRequest.from_bytes(data)
        self.use_nonce(request.server_nonce)
        known = self.terminals[request.terminal]
        assert check_sync_request(request, known.key) is Verdict.ACCEPTED
        header, rows = request.body.header, request.body.rows
        self.batches.append((rows[0].seq if rows else 0, len(rows), header.applied))
        verdict, items = self.judge_batch(request, known)
        if self.spoil == "hashes":
            items = [replace(item, row_hash=bytes(32)) for item in items]
        beacon = Beacon(terminal=request.terminal, nonce=header.beacon_nonce, ts=self.now_s)
        if self.lie_beacon is not None:
            beacon = Beacon(terminal=request.terminal, nonce=self.lie_beacon, ts=1)
        b_sig = sign(
            self.issuer.key,
            beacon_message(self.issuer.kid, beacon.terminal, beacon.nonce, beacon.ts),
        )
        same = header.epoch == known.epoch
        raw = answer_bytes(
            SyncAnswer(
                epoch=header.epoch,
                verdict=verdict,
                items=tuple(items),
                acked_seq=len(known.chains) if same else 0,
                acked_head=bytes(32) if self.spoil == "head" or not same else known.head,
                revocations=self.delta(known, header.applied),
                bundle_version=self.issuer.version,
                beacon=SignedBeacon(kid=self.issuer.kid, beacon=beacon, sig=b_sig).to_bytes(),
                next_nonce=self.new_nonce(),
                server_time=self.now_s,
            )
        )
        message = sync_answer_message(
            self.issuer.kid, request.terminal, request.server_nonce, request.body_raw, raw
        )
        sig = sign(self.issuer.key, message)
        if self.spoil == "sig":
            sig = bytes([sig[0] ^ 1]) + sig[1:]
        return SignedAnswer.of(self.issuer.kid, raw, sig).to_bytes()

    def judge_batch(
        self, request: SyncRequest, known: KnownTerminal
    ) -> tuple[Verdict, list[ItemResult]]:
        header, rows = request.body.header, request.body.rows
        if header.applied < known.told_epoch:
            return Verdict.REVOCATION_NOT_APPLIED, []
        if known.epoch is None:
            known.epoch = header.epoch
        if header.epoch != known.epoch:
            first = read_row(rows[0].row) if rows and rows[0].seq == 1 else None
            if not isinstance(first, NewEpoch):
                return Verdict.JOURNAL_GAP, []
            old = known.chains if first.old_epoch == known.epoch else known.history[first.old_epoch]
            assert (old[first.old_seq - 1] if first.old_seq else GENESIS) == first.old_chain
            known.history[known.epoch] = known.chains
            known.epoch, known.chains, known.results = header.epoch, [], []
        if rows and rows[0].seq > len(known.chains) + 1:
            return Verdict.JOURNAL_GAP, []
        items, forked = [], False
        for row in rows:
            previous = known.chains[row.seq - 2] if row.seq > 1 else GENESIS
            link = chain(request.terminal, header.epoch, row.seq, previous, row.row)
            if row.seq <= len(known.chains) and known.chains[row.seq - 1] == link:
                items.append(
                    ItemResult(seq=row.seq, row_hash=link, result=known.results[row.seq - 1])
                )
                continue
            if row.seq <= len(known.chains):
                forked = True
                break
            result = self.judge_row(row.row)
            known.chains.append(link)
            known.results.append(result)
            items.append(ItemResult(seq=row.seq, row_hash=link, result=result))
        return (Verdict.JOURNAL_FORK if forked else Verdict.ACCEPTED), items

    def judge_row(self, data: bytes) -> Verdict:
        row = read_row(data)
        if isinstance(row, VoidRow):
            self.voids.append(row.signed)
        if isinstance(row, Apply):
            assert row.epoch <= len(self.revoked)
        if not isinstance(row, Accept):
            return Verdict.ACCEPTED
        signed = row.signed
        verdict = check_for_settlement(signed, self.issuer.bundle().bundle)
        if verdict is not Verdict.ACCEPTED:
            return verdict
        key = (signed.allowance.aid, signed.voucher.counter)
        first = self.settled.setdefault(key, signed.h)
        if first != signed.h:
            return Verdict.DOUBLE_SPEND
        return Verdict.ACCEPTED

    def delta(self, known: KnownTerminal, applied: int) -> bytes:
        epoch = len(self.revoked)
        known.told_epoch = epoch
        if applied >= epoch:
            return b""
        raw = revocations_bytes(
            Revocations(epoch=epoch, base_epoch=0, aids=tuple(sorted(self.revoked)))
        )
        sig = sign(self.issuer.key, revocations_message(self.issuer.kid, raw))
        return SignedRevocations.of(self.issuer.kid, raw, sig).to_bytes()
