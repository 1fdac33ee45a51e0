"""The second implementation, in a browser, judges every committed vector as the first one does."""

import json
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from bff.cli.chromium import Page
from offline import journal
from offline.armour import from_text, to_text
from offline.verdicts import Refused
from offline.wire import SignedVoucher
from tests.offline import hostile, kit
from tests.offline.make_vectors import FOLDER

_VOUCHER = ("text", "hex", "h", "message_a", "message_v")
_CERTIFIED = ("text", "hex", "message", "message_cert")


def wire(case: dict[str, Any]) -> dict[str, Any]:
    if case["form"] == "voucher":
        return {name: case[name] for name in _VOUCHER} | {"verdicts": ["OV_ACCEPTED"] * 2}
    if "text" in case:
        return {name: case[name] for name in _CERTIFIED} | {"signed": [True, True]}
    return {"hex": case["hex"], "message": case["message"], "signed": [True]}


EXPECTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bodies_valid": lambda case: {"fields": case["fields"], "hex": case["hex"]},
    "bodies_invalid": lambda case: case["verdict"],
    "signatures": lambda case: case["valid"],
    "enrolment_keys": lambda case: case["ok"],
    "texts": lambda case: case["verdict"],
    "judgements": lambda case: case["verdict"],
    "rule9": lambda case: case["consistent"],
    "wires": wire,
    "messages": lambda case: [case.get("message", case.get("hash")), True],
    "chain": lambda case: {"row": case["row"], "chain": case["chain"]},
}


def test_every_file_of_vectors_is_read() -> None:
    assert set(EXPECTED) == {path.stem for path in FOLDER.glob("*.json")} - {"context"}


@pytest.mark.parametrize("file", EXPECTED)
def test_vectors(blank: Page, file: str) -> None:
    cases = json.loads((FOLDER / f"{file}.json").read_text())
    made = blank.run("(await import('/tests/vectors.js')).made(given[0])", file)
    assert len(made) == len(cases) > 0
    wrong = [
        (case.get("why", case), came, EXPECTED[file](case))
        for case, came in zip(cases, made, strict=True)
        if came != EXPECTED[file](case)
    ]
    assert wrong == []


def mutants(kind: str, good: bytes, count: int) -> list[tuple[str, str]]:
    """`good` with bytes flipped, dropped, doubled or put in, by a fixed stream: the same in every run."""
    out = []
    for number in range(count):
        dice = sha256(f"{kind} {number}".encode()).digest()
        data = bytearray(good)
        for turn in range(1 + dice[0] % 3):
            how, at, byte = dice[3 * turn + 1 : 3 * turn + 4]
            # Heads are few and decide most: every other change falls on the first bytes.
            place = (at * 7 + number) % len(data) if how & 1 else at % min(len(data), 12)
            match how >> 1 & 3:
                case 0:
                    data[place] = byte
                case 1:
                    data[place] ^= 1 << byte % 8
                case 2:
                    del data[place]
                case _:
                    data.insert(place, byte)
        out.append((kind, bytes(data).hex()))
    return out


def verdict_of(read: Callable[[Any], object], data: Any) -> str | None:
    try:
        read(data)
    except Refused as refused:
        return str(refused.verdict)
    return None


def test_both_implementations_judge_damaged_bytes_alike(blank: Page) -> None:
    readers = {kind: read for kind, (_, read) in hostile.BODIES.items()}
    readers |= {"voucher_wire": SignedVoucher.from_bytes, "row": journal.read_row}
    goods = {kind: [data] for kind, (data, _) in hostile.BODIES.items()}
    goods |= {"voucher_wire": [kit.signed_voucher().to_bytes()]}
    goods |= {"row": [journal.row_bytes(row) for row in kit.rows()]}
    pairs = [
        pair for kind, every in goods.items() for good in every for pair in mutants(kind, good, 300)
    ]
    pairs += [(kind, item) for kind in hostile.BODIES for item in strange()]
    marked = hostile.with_parts("certificate", name=b"\x66\xef\xbb\xbfTea")
    pairs.append(("certificate", marked.hex()))  # a byte order mark is a letter like others
    made = blank.run("(await import('/tests/vectors.js')).judged(given[0])", pairs)
    judged = [verdict_of(readers[kind], bytes.fromhex(data)) or data for kind, data in pairs]
    reached = {one for one in judged if one.startswith("OV_")}
    assert len(reached) == 3, "the damage should reach every verdict of the reader"
    wrong = [
        (kind, data, came, expected)
        for (kind, data), came, expected in zip(pairs, made, judged, strict=True)
        if came != expected
    ]
    assert wrong == []


def test_both_implementations_read_damaged_texts_alike(blank: Page) -> None:
    good = to_text("OV1V:", bytes(range(0, 256, 5)))
    letters = "09AZ $%*+-./:a\n\u00df\u0130"
    texts = [good[:at] + letter + good[at:] for at in range(len(good) + 1) for letter in letters]
    texts += [good[:at] + letter + good[at + 1 :] for at in range(len(good)) for letter in letters]
    texts += [good[:at] for at in range(len(good))]
    texts += [
        "OV1V:FGW",
        "OV1V:GGW",
        "OV1V::::",
        "OV1V:U5",
        "OV1V:V5",
        "OV1V:::",
        "OV1V:0",
        "OV1V:00",
    ]
    judged = [
        verdict_of(partial(from_text, "OV1V:"), text) or from_text("OV1V:", text).hex()
        for text in texts
    ]
    assert blank.run("(await import('/tests/vectors.js')).decoded(given[0])", texts) == judged


def test_encodings_that_a_signature_may_not_hold(blank: Page) -> None:
    """Asked here for themselves: today's browser refuses some of them too, another may not."""
    field, top = 2**255 - 19, 1 << 255
    order_8 = int.from_bytes(hostile.TORSION, "little")
    small = [0, 1, field - 1, order_8, field - order_8]
    refused = [
        *small,
        *(y + top for y in small),
        field,
        field + 1,
        field + 2,
        2**255 - 1,
        2**256 - 1,
    ]
    allowed = [2, 3, field - 2, 2 + top]
    points = [y.to_bytes(32, "little").hex() for y in (*refused, *allowed)]
    stand = blank.run("(await import('/tests/vectors.js')).points(given[0])", points)
    assert [one for one, _ in stand] == [False] * len(refused) + [True] * len(allowed)
    scalars = [s.to_bytes(32, "little").hex() for s in (0, hostile.L - 1, hostile.L, 2**256 - 1)]
    below = blank.run("(await import('/tests/vectors.js')).points(given[0])", scalars)
    assert [one for _, one in below] == [True, True, False, False]


def strange() -> list[str]:
    """Bytes at the edges of CBOR, most of them in no vector."""
    heads = [f"{head:02x}" for head in range(256)]
    inside = [
        "7f61c3ff", "7f61c361a9ff", "7f6161ff", "5f6161ff", "7f4161ff", "5f5f4100ffff", "5fff", "7fff",
        "9f01ff", "9fff", "63efbbbf", "63eda080", "64f0908080", "62c080", "1b001fffffffffffff",
        "1b0020000000000000", "5bffffffffffffffff", "9bffffffffffffffff", "5b000000000000000101", "d81c80",
        "d9010041aa", "c249010000000000000000", "f820", "a0", "a10102", "1b0000000000000017", "190017",
        *("81" * depth + tail for depth in range(4, 9) for tail in ("01", "80", "9fff")),
    ]  # fmt: skip
    shapes = ("82{}01", "8201{}", "8202{}", "82{}", "{}", "9f01{}ff", "9f02{}ff", "8202{}00")
    return ["", *heads, *(f"82{head}" for head in heads), *(shape.format(one) for one in inside for shape in shapes)]  # fmt: skip
