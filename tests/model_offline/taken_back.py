"""Single rules of OFFLINE taken back, one at a time, and the scope in which that must show."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

from msgspec import structs

from devices.keystore import port
from edge_agent import payer_rules, terminal_rules
from offline import verify
from offline.journal import Close, CloseReason
from offline.verdicts import Verdict
from offline.verify import Judgement
from server_core.vouchers import endings, histories, rules
from server_core.vouchers.model import Settled, State
from tests.model_offline.scopes import BY_NAME
from tests.model_offline.shop import Shop
from tests.model_offline.world import Scope


class Reversal(NamedTuple):
    """`puts`: (owner, name, what stands there instead). `law`: how the broken law's sentence begins."""

    rule: str
    scope: Scope
    law: str
    puts: tuple[tuple[Any, str, Callable[..., Any]], ...]

    @contextmanager
    def made(self) -> Iterator[None]:
        patches = [mock.patch.object(owner, name, put) for owner, name, put in self.puts]
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()


_settle, _judge, _close, _refunds = rules._settle, rules._judge, endings.close, endings.refunds
_answered, _check_ask, _at_terminal = (
    terminal_rules.answered, terminal_rules.check_ask, verify.judge,
)  # fmt: skip
_may_void, _same_sale, _judge_all = (
    verify.may_void, verify._same_sale, rules.judge,
)  # fmt: skip


def by_signature(shop: Shop, name: bytes) -> Any:
    """A sale is found again by its signature's bytes."""
    return shop.redeemed.get(name)


def occupied(item: Any, terminal: Any, facts: Any, judged: Any, now_ms: int) -> Verdict:
    verdict = _judge(item, terminal, facts, judged, now_ms)
    v, a = item.signed.voucher, item.signed.allowance
    if verdict not in {Verdict.ACCEPTED, Verdict.DUPLICATE} and item.content == Verdict.ACCEPTED:
        key = (a.aid, v.counter)
        if key not in facts.settled:
            taken = Settled(
                aid=a.aid, counter=v.counter, h=item.signed.h, terminal=terminal.id, nonce=item.signed.h[:8],
                amount=0,
            )  # fmt: skip
            facts.settled[key] = taken
            judged.settled.append(taken)
    return verdict


def by_clock(steps: Any, terminal: Any, facts: Any, now_ms: int) -> Any:
    for aid, one in list(facts.allowances.items()):
        if one.settle_until + 3600 < now_ms // 1000:
            facts.allowances[aid] = structs.replace(one, state=State.CLOSED)
    return _judge_all(steps, terminal, facts, now_ms)


def sums_refuse(item: Any, allowance: Any, facts: Any) -> Verdict:
    known = [one.link for one in facts.seen.get(allowance.aid, {}).values()]
    found = verify.conflict(verify.link_of(item.signed), known)
    if found is not None and found.verdict is Verdict.CUMULATIVE_INCONSISTENT:
        return Verdict.CUMULATIVE_INCONSISTENT
    return _settle(item, allowance, facts)


def unused(item: Any, allowance: Any, facts: Any) -> Verdict:
    return _settle(item, allowance, rules.Facts(**structs.asdict(facts) | {"used": set()}))


def endless(item: Any, allowance: Any, facts: Any) -> Verdict:
    verdict = _settle(item, allowance, facts)
    return Verdict.ACCEPTED if verdict is Verdict.HOLD_EXHAUSTED else verdict


def only_issued(item: Any, allowance: Any, facts: Any) -> Verdict:
    if allowance.state is not State.ISSUED:
        return Verdict.SETTLEMENT_CLOSED
    return _settle(item, allowance, facts)


def reopened(item: Any, allowance: Any, facts: Any) -> Verdict:
    verdict = _settle(item, allowance, facts)
    return Verdict.ACCEPTED if verdict is Verdict.SETTLEMENT_CLOSED else verdict


def any_h(item: Any, allowance: Any, facts: Any) -> Verdict:
    verdict = _settle(item, allowance, facts)
    return Verdict.DUPLICATE if verdict is Verdict.DOUBLE_SPEND else verdict


def ack_follows(*given: Any) -> Any:
    state, _, answer, _ = given
    return replace(_answered(*given), acked_seq=min(answer.acked_seq, state.head_seq))


def same_epoch(state: Any, unacked: Any, acked_chain: Any, open_nonces: Any, *rest: Any) -> Any:
    now_s = rest[-1]
    closes = [
        (Close(nonce=nonce, reason=CloseReason.RESTORED, closed_at=now_s), None)
        for nonce in open_nonces
    ]
    return replace(state, must_sync=True, quarantined=False, screen_nonce=None), closes


def no_claims(allowance: Any, lost: Any, *rest: Any) -> Any:
    return _close(allowance, (), *rest)


def no_floor(*given: Any, **named: Any) -> Any:
    policy = named["policy"]
    roomy = replace(policy, risk=replace(policy.risk, soft_sum=1_000, hard_sum=1_000))
    return _check_ask(*given, **named | {"policy": roomy})


def floor_at_scan(signed: Any, facts: Any) -> Judgement:
    judged = _at_terminal(signed, facts)
    over = facts.allowance_exposure + signed.voucher.amount > 1
    if judged.verdict is Verdict.ACCEPTED and over:
        return Judgement(verdict=Verdict.FLOOR_LIMIT)
    return judged


def void_unsigned(signed: Any, facts: Any) -> bool:
    with mock.patch.object(verify, "_signatures", return_value=None):
        return _may_void(signed, facts)


def any_shop(signed: Any, facts: Any) -> Any:
    found = _same_sale(signed, facts)
    others = {Verdict.PAYEE_MISMATCH, Verdict.CHALLENGE_UNKNOWN}
    return None if found in others else found


def given_again(waiting: Any, paid: Any, terminals: Any, refunded: Any, most: int) -> Any:
    return _refunds(waiting, {}, terminals, refunded, most)


def matched_by_number(journal: Any, rows: Any, stored: Any) -> Any:
    epoch = journal.epoch or b""
    if any((epoch, one.seq) not in stored.rows for one in rows):
        return None
    start = stored.link(epoch, rows[0].seq - 1) if rows else b""
    links = histories._chained(journal.terminal, epoch, start or bytes(32), rows)
    return [
        histories.ItemResult(
            seq=one.seq, row_hash=link, result=Verdict(stored.rows[epoch, one.seq][1])
        )
        for one, link in zip(rows, links, strict=True)
    ]


def signs_on(stored: Any, counter: int, payload: bytes) -> Any:
    return port.CounterState(counter=counter, payload_hash=port.sha256(payload))


def shows_always(*_: Any) -> bool:
    return True


def _reversal(
    rule: str, scope: str, law: str, *puts: tuple[Any, str, Callable[..., Any]]
) -> Reversal:
    return Reversal(rule, BY_NAME[scope], law, puts)


REVERSALS = (
    _reversal("a sale is found again by its signature, not by h", "altered copies",
              "a sale that was shown as paid is not voided", (Shop, "took", by_signature)),
    _reversal("a void is applied whoever signed it", "strangers",
              "a refund has a void by the voucher's own terminal", (endings, "_own", lambda *_: True)),
    _reversal("a void of a settled voucher is not applied", "voids",
              "a void of what its shop was paid for", (endings, "refunds", given_again)),
    _reversal("a void needs no good signature of the voucher", "altered copies",
              "a void of what was refused is signed only", (verify, "may_void", void_unsigned)),
    _reversal("a refused item occupies the key", "rogue shop",
              "who is told that a voucher is settled", (rules, "_judge", occupied)),
    _reversal("another h at the key is a duplicate", "forging payer",
              "who is told that a voucher is settled", (rules, "_settle", any_h)),
    _reversal("a challenge settles as often as it comes", "rogue shop",
              "the server never settles a challenge twice", (rules, "_settle", unused)),
    _reversal("the hold is no bound", "forging payer", "settled + claimed + unclaimed + returned",
              (rules, "_settle", endless)),
    _reversal("settlement ends by the clock", "close", "only the state CLOSED ends settlement",
              (rules, "judge", by_clock)),
    _reversal("settlement ends with spending", "close", "only the state CLOSED ends settlement",
              (rules, "_settle", only_issued)),
    _reversal("CLOSED still settles", "close", "settled + claimed + unclaimed + returned",
              (rules, "_settle", reopened)),
    _reversal("a stop counts from its time, not from APPLY", "revocation",
              "what an honest terminal accepted",
              (rules, "_revoked", lambda item, facts: item.signed.allowance.aid in facts.revoked)),
    _reversal("a broken sum is a refusal", "forging payer", "an honest terminal is refused only",
              (rules, "_settle", sums_refuse)),
    _reversal("acked follows every answer", "fork", "acked never goes down",
              (terminal_rules, "answered", ack_follows)),
    _reversal("a restore keeps the epoch", "restore", "a terminal of one history is never quarantined",
              (terminal_rules, "restored", same_epoch)),
    _reversal("rows at a known place are taken for resends", "fork",
              "who is told that a voucher is settled", (histories, "_matched", matched_by_number)),
    _reversal("a frozen allowance returns before the losers are paid", "forged and closed",
              "a frozen allowance returns nothing", (endings, "close", no_claims)),
    _reversal("close gives back what is witnessed, its request closed or not", "close",
              "what a shop took and its payer showed", (endings, "_let_go", lambda *_: True)),
    _reversal("anybody bears witness", "strangers", "a witness is taken only from the payer's own",
              (rules, "may_witness", lambda _signed, found, _actor: found is not None)),
    _reversal("the floor limit refuses at the scan", "floor limit",
              "an honest voucher for an open request is taken",
              (terminal_rules, "check_ask", no_floor), (verify, "judge", floor_at_scan)),
    _reversal("payee and terminal are not asked", "two shops",
              "a copy at another shop is never accepted", (verify, "_same_sale", any_shop)),
    _reversal("an earlier sale's code is shown as paid", "one shop",
              "a code that paid another sale is not shown", (terminal_rules, "shows_paid", shows_always)),
    _reversal("a device that was put back signs on", "device put back",
              "what an honest terminal accepted",
              (payer_rules, "rolled_back", lambda *_, **__: False), (port, "advance", signs_on)),
    _reversal("a claim does not ask for voids", "claim", "a void of what its shop was paid for",
              (endings, "check_claim", lambda *_: None)),
)  # fmt: skip
