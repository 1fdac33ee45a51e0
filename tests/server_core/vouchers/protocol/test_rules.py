"""First seen wins, by table and by chance: the promises hold after every batch, in any order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from offline.model import NO_PREV
from offline.verdicts import Verdict
from offline.verify import Link
from offline.wire import SignedVoucher
from server_core.terminals.model import State as TerminalState
from server_core.terminals.model import Terminal
from server_core.vouchers import rules
from server_core.vouchers.model import Allowance, Claimed, Ended, Item, Seen, State
from server_core.vouchers.rules import Facts
from tests.offline import kit

V = Verdict
A_RAW = kit.signed_voucher().allowance_raw


def allowance(**changes) -> Allowance:
    a = kit.allowance()
    given = {
        "aid": a.aid, "party": None, "device": None, "currency": "INR", "kid": kit.KID,
        "raw": A_RAW, "sig": b"", "digest": b"", "hold": a.cap_total, "spend_until": a.spend_until,
        "settle_until": a.settle_until, "state": State.ISSUED, "frozen": False, "settled": 0,
        "claimed": 0, "unclaimed": 0, "returned": 0,
    }  # fmt: skip
    return Allowance(**given | changes)


def terminal(name: bytes = kit.TERMINAL, payee: bytes = kit.PAYEE) -> Terminal:
    return Terminal(
        id=name, party=None, payee=payee, key=b"", kid=kit.KID, cert=b"", sig_cert=b"",
        state=TerminalState.ACTIVE, enrolled_at=0,
    )  # fmt: skip


def signed(
    counter: int, amount: int, cum: int, nonce: int, at: bytes = kit.TERMINAL
) -> SignedVoucher:
    return kit.signed_voucher(
        v=kit.voucher(
            counter=counter, amount=amount, cum=cum, nonce=nonce.to_bytes(8), terminal=at,
            prev=NO_PREV,
        )
    )  # fmt: skip


def item(one: SignedVoucher, **changes) -> Item:
    return Item(**{"signed": one, "content": V.ACCEPTED, "accepted_at": kit.NOW} | changes)


def facts(**changes) -> Facts:
    made = allowance(**changes)
    return Facts(allowances={made.aid: made})


FIRST = signed(1, 100, 100, 1)


@pytest.mark.parametrize(
    ("prepare", "changes", "verdict"),
    [
        (lambda _: None, {}, V.ACCEPTED),
        (lambda _: None, {"content": V.VOUCHER_SIGNATURE}, V.VOUCHER_SIGNATURE),
        (lambda f: f.allowances.clear(), {}, V.ALLOWANCE_UNKNOWN),
        (lambda f: f.used.add((kit.TERMINAL, (1).to_bytes(8))), {}, V.CHALLENGE_USED),
        (lambda f: f.revoked.update({kit.AID: 3}), {"applied": 3}, V.REVOKED),
        (lambda f: f.revoked.update({kit.AID: 3}), {"applied": 2}, V.ACCEPTED),
    ],
)
def test_one_voucher(prepare, changes, verdict) -> None:
    known = facts()
    prepare(known)
    judged = rules.judge([item(FIRST, **changes)], terminal(), known, 1)
    assert judged.verdicts == [verdict]
    assert bool(judged.settled) == (verdict is V.ACCEPTED)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"state": State.DRAINING}, V.ACCEPTED),
        ({"state": State.CLOSED, "returned": 200_000}, V.SETTLEMENT_CLOSED),
        ({"frozen": True}, V.ACCEPTED),
        ({"settled": 199_900}, V.ACCEPTED),
        ({"settled": 199_901}, V.HOLD_EXHAUSTED),
        ({"raw": b"another"}, V.ALLOWANCE_UNKNOWN),
    ],
)
def test_the_allowance_decides(changes, verdict) -> None:
    assert rules.judge([item(FIRST)], terminal(), facts(**changes), 1).verdicts == [verdict]


def test_another_terminals_or_payees_voucher_is_not_its_own() -> None:
    for other in (terminal(b"none"), terminal(payee=b"somebody")):
        judged = rules.judge([item(FIRST)], other, facts(), 1)
        assert (judged.verdicts, judged.seen) == ([V.PAYEE_MISMATCH], [])


def test_the_order_of_the_journal_decides_between_a_close_and_a_voucher() -> None:
    end = Ended(nonce=(1).to_bytes(8), reason="expired")
    assert rules.judge([end, item(FIRST)], terminal(), facts(), 1).verdicts == [V.CHALLENGE_USED]
    assert rules.judge([item(FIRST), end], terminal(), facts(), 1).verdicts == [V.ACCEPTED]


def test_a_second_voucher_is_claimable_only_in_time_and_unrevoked() -> None:
    second = signed(1, 200, 200, 2)
    late = {"accepted_at": kit.allowance().spend_until + 1}
    for changes, claimable in (({}, True), (late, False), ({"applied": 7}, False)):
        known = facts()
        known.revoked[kit.AID] = 7
        judged = rules.judge([item(FIRST), item(second, **changes)], terminal(), known, 1)
        assert judged.verdicts == [V.ACCEPTED, V.DOUBLE_SPEND]
        assert [one.claimable for one in judged.seen] == [False, claimable]
        assert judged.frozen == {kit.AID}


POOL = [
    signed(counter, amount, cum, nonce)
    for nonce, (counter, amount, cum) in enumerate(
        [
            (1, 50_000, 50_000), (1, 50_000, 50_000), (1, 40_000, 40_000), (2, 50_000, 100_000),
            (2, 30_000, 80_000), (3, 50_000, 150_000), (3, 50_000, 150_001), (4, 50_000, 200_000),
            (4, 1, 150_001), (5, 50_000, 200_000), (6, 20_000, 199_999),
        ]
    )
]  # fmt: skip
PLAN = st.lists(
    st.lists(st.tuples(st.sampled_from(POOL), st.integers(0, 2)), min_size=1, max_size=8),
    min_size=1, max_size=5,
)  # fmt: skip


@given(plan=PLAN)
@settings(max_examples=150, deadline=None)
def test_whatever_arrives_in_whatever_order(plan) -> None:
    """Once each, never beyond the hold, first seen wins, evidence once: after every batch."""
    known = facts()
    known.revoked[kit.AID] = 2
    first: dict[int, bytes] = {}
    pairs: list[tuple[bytes, bytes]] = []
    places: list[int] = []
    for batch in plan:
        before = set(known.settled)
        judged = rules.judge([item(one, applied=n) for one, n in batch], terminal(), known, 1)
        assert len(judged.verdicts) == len(batch)
        for (one, applied), verdict in zip(batch, judged.verdicts, strict=True):
            counter = one.voucher.counter
            if verdict is V.ACCEPTED:
                assert counter not in first
                assert applied < 2
                first[counter] = one.h
            elif verdict is V.DUPLICATE:
                assert first[counter] == one.h
            elif verdict is V.DOUBLE_SPEND:
                assert first[counter] != one.h
        pairs += [(one.h, one.other) for one in judged.evidence]
        places += [one.place for one in judged.seen]
        held = known.allowances[kit.AID]
        assert held.settled == sum(one.amount for one in known.settled.values()) <= held.hold
        assert before <= set(known.settled)
        assert {c: one.h for (_, c), one in known.settled.items()} == first
        assert held.frozen == bool(pairs)
    assert len(set(pairs)) == len(pairs)
    assert places == list(range(1, len(places) + 1))
    assert set(known.seen[kit.AID]) == {one.h for batch in plan for one, _ in batch}


def seen(number: int, amount: int) -> Seen:
    link = Link(counter=number, amount=amount, cum=amount, prev=NO_PREV, h=bytes([number]) * 32)
    return Seen(
        aid=kit.AID, link=link, payee=kit.PAYEE, terminal=kit.TERMINAL, nonce=kit.NONCE, wire=b"",
        verdict="", seen_at=0, place=number, claimable=True,
    )  # fmt: skip


AMOUNTS = st.lists(st.integers(1, 50_000), max_size=8)


@given(
    lost=AMOUNTS, shown=AMOUNTS, settled=st.integers(0, 200_000), frozen=st.booleans(),
    back=st.sets(st.integers(0, 12)), shared=st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_close_parts_the_rest_exactly(lost, shown, settled, frozen, back, shared) -> None:
    claims = [seen(i, amount) for i, amount in enumerate(lost)]
    witnessed = [seen(i if shared else i + 50, amount) for i, amount in enumerate(shown)]
    returnable = {one.link.h for i, one in enumerate(witnessed) if i in back}
    held = allowance(frozen=frozen, settled=settled)
    parting = rules.close(held, claims, witnessed, returnable)
    claimed = sum(amount for _, amount in parting.claims)
    unclaimed = sum(amount for _, amount in parting.unclaimed)
    assert settled + claimed + unclaimed + parting.returned == held.hold
    assert parting.returned >= 0
    names = [h for h, _ in (*parting.claims, *parting.unclaimed)]
    assert len(names) == len(set(names))
    assert not {h for h, _ in parting.unclaimed} & returnable
    if not frozen:
        assert not parting.claims
    elif parting.returned > 0:
        assert dict(parting.claims) == {one.link.h: one.link.amount for one in claims}
    again = replace(held, claimed=claimed, unclaimed=unclaimed, returned=parting.returned)
    assert again.rest == 0


@pytest.mark.parametrize(
    ("base", "rows", "claims", "holds"),
    [
        (0, [], [(0, 5, 5)], True),
        (0, [(3, 2)], [(2, 5, 5)], True),
        (0, [], [(2, 5, 5)], False),  # claimed and not there
        (2, [], [(2, 5, 5)], True),  # applied before
        (0, [(3, 2)], [(0, 5, 5)], False),  # there and hidden
        (0, [(5, 2)], [(2, 4, 5)], False),  # later than claimed
        (0, [(4, 2)], [(2, 4, 9)], True),
        (0, [], [(2, 9, 9)], True),  # beyond this batch: not yet to be seen
        (0, [(5, 2)], [(0, 2, 4), (2, 5, 5)], True),
        (3, [(4, 3)], [(1, 5, 5)], False),
    ],
)
def test_headers_and_rows_tell_one_story(base, rows, claims, holds) -> None:
    told = [Claimed(applied=applied, first=first, last=last) for applied, first, last in claims]
    assert rules.claims_hold(base, 2, rows, 5, told) is holds
