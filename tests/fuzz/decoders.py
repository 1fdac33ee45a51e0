"""What reads OV1 from outside, each with what writes it again and good and bad inputs to begin from."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offline import codec, journal, sync, wire
from offline.model import Algorithm
from offline.signing import check_public_key, verify_signature
from offline.verdicts import Refused

VECTORS = Path(__file__).parents[2] / "offline" / "vectors"


@dataclass(frozen=True, slots=True)
class Decoder:
    """`read` raises Refused or gives a value, which `write` turns into the bytes that were read."""

    name: str
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes] | None


def of_bytes(kind: Any) -> Decoder:
    return Decoder(kind.__name__, kind.from_bytes, kind.to_bytes)


def of_text(kind: Any) -> Decoder:
    def read(data: bytes) -> Any:
        return kind.from_text(data.decode("utf-8", "surrogateescape"))

    return Decoder(f"{kind.__name__} text", read, lambda value: value.to_text().encode())


def _signature(data: bytes) -> None:
    """Key, signature and message in one input; any answer will do, none may raise."""
    alg = Algorithm.P256 if data[:1] in (b"\x02", b"\x03") else Algorithm.ED25519
    size = 33 if alg is Algorithm.P256 else 32
    check_public_key(data[:size])
    verify_signature(alg, data[:size], data[size + 64 :], data[size : size + 64])
    verify_signature(Algorithm.P256, data[:size], data[size + 64 :], data[size : size + 64])


CERTIFIED = (wire.SignedRequest, wire.SignedReceipt, wire.SignedVoid)
BODIES = (
    "allowance",
    "voucher",
    "certificate",
    "request",
    "receipt",
    "void",
    "bundle",
    "revocations",
)
DECODERS = {
    one.name: one
    for one in (
        *(
            Decoder(name, getattr(codec, f"read_{name}"), getattr(codec, f"{name}_bytes"))
            for name in BODIES
        ),
        Decoder("journal row", journal.read_row, journal.row_bytes),
        Decoder("sync body", sync.read_body, sync.body_bytes),
        Decoder("sync answer body", sync.read_answer, sync.answer_bytes),
        *(
            of_bytes(kind)
            for kind in (
                wire.SignedVoucher, *CERTIFIED, wire.SignedBundle, wire.SignedRevocations,
                wire.SignedBeacon, sync.SyncRequest, sync.SignedAnswer,
            )
        ),
        *(of_text(kind) for kind in (wire.SignedVoucher, *CERTIFIED)),
        Decoder("signature", _signature, None),
    )
}  # fmt: skip


def seeds() -> list[bytes]:
    """Every input of the vectors, the good ones more often: any decoder may meet any of them."""
    found = sorted(set(_inputs()))
    return found + 8 * [
        one for one in found if any(_takes(each, one) for each in DECODERS.values())
    ]


def _takes(decoder: Decoder, data: bytes) -> bool:
    try:
        decoder.read(data)
    except Refused:
        return False
    return decoder.write is not None


def _inputs() -> Iterator[bytes]:
    for name in ("bodies_valid", "bodies_invalid", "wires"):
        yield from (bytes.fromhex(one["hex"]) for one in _vectors(name))
    for name in ("texts", "judgements", "wires"):
        texts = (one.get("text") for one in _vectors(name))
        yield from (text.encode("utf-8", "surrogateescape") for text in texts if text)
    yield from (bytes.fromhex(one["row"]) for one in _vectors("chain"))
    for one in _vectors("signatures"):
        yield bytes.fromhex(one["key"]) + bytes.fromhex(one["sig"]) + bytes.fromhex(one["message"])
    for name, decoder in DECODERS.items():
        # What is inside a good wire is an input too.
        if name.startswith("Sync") or name == "SignedAnswer":
            for data in [bytes.fromhex(one["hex"]) for one in _vectors("wires")]:
                try:
                    value = decoder.read(data)
                except Refused:
                    continue
                yield getattr(value, "body_raw", None) or value.answer_raw


def _vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())
