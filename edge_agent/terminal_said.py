"""Each thing a terminal does, together with what is then said; the commands and the open terminal share it."""

from pathlib import Path

from devices.clock import Clock
from edge_agent.accepting import accept as accept_voucher
from edge_agent.amounts import format_amount
from edge_agent.archive import segments
from edge_agent.asking import ask as ask_amount
from edge_agent.asking import cancel as cancel_request
from edge_agent.backup import Manifest
from edge_agent.chain import broken_at
from edge_agent.doctor import standing
from edge_agent.errors import AgentError
from edge_agent.health import Finding, Level, clock_trusted, findings
from edge_agent.restore import Restored
from edge_agent.segment import SegmentBroken
from edge_agent.show import Look, Said, moment, scanned
from edge_agent.store.archive_store import ArchiveStore
from edge_agent.store.terminal_rows import RedeemedRow
from edge_agent.store.terminal_store import TerminalStore
from edge_agent.sync import Synced
from edge_agent.terminal import Terminal
from edge_agent.ussd import CURRENCY
from edge_agent.ussd import check as check_digits
from edge_agent.voiding import void as void_voucher
from offline.codec import read_certificate
from offline.journal import Accept, Apply, Close, NewEpoch, Row, VoidRow, read_row
from offline.model import VoidReason
from offline.verdicts import Verdict, operator_sentence


def ask(terminal: Terminal, amount: int) -> Said:
    asked = ask_amount(terminal, amount)
    hint = " Go online if you can." if asked.go_online else ""
    return Said(
        ok=True,
        code="edge.request_shown",
        line=f"Please pay {format_amount(asked.amount, asked.ccy)} to {terminal.certificate.name}",
        detail=f"Not paid yet. This request runs out in {asked.ttl_s} seconds.{hint}"
        + (f"\nBy phone: {asked.dial.text}" if asked.dial is not None else ""),
        text=asked.text,
        facts={
            "amount": str(asked.amount),
            "currency": asked.ccy,
            "nonce": asked.nonce.hex(),
            "ttl_s": asked.ttl_s,
            "go_online": asked.go_online,
            "dial": None if asked.dial is None else asked.dial.text,
        },
    )


def accept(terminal: Terminal, text: str) -> Said:
    return scanned(terminal, accept_voucher(terminal, text))


def by_phone(terminal: Terminal, digits: str) -> Said:
    """Say whether the digits that a payer was told prove a payment."""
    paid = check_digits(terminal, digits)
    line, look, detail = f"PAID {format_amount(paid.amount, CURRENCY)} by phone", Look.PAID, ""
    if paid.repeated:
        line, look = f"{line} BEFORE", Look.PAID_BEFORE
        detail = "These digits were given before: this is the same sale, not another one."
    if paid.twice:
        line, look = f"{line}, and by a voucher before", Look.PAID_BEFORE
        detail = "It was paid twice: refund the payment by phone."
    return Said(
        ok=True,
        code="edge.paid_by_phone",
        line=line,
        look=look,
        detail=detail,
        facts={
            "paid": True,
            "amount": str(paid.amount),
            "nonce": paid.nonce.hex(),
            "twice": paid.twice,
            "repeated": paid.repeated,
        },
    )


def void(terminal: Terminal, text: str, *, give_back: bool) -> Said:
    done = void_voucher(terminal, text, give_back=give_back)
    amount = format_amount(done.amount, done.ccy)
    was = (
        "accepted here and is given back" if done.reason is VoidReason.RETURNED else "not accepted"
    )
    return Said(
        ok=True,
        code="edge.voided",
        line=f"CANCELLED {amount}: the voucher was {was}.",
        look=Look.NOT_PAID,
        detail="Show the payer the code below: it is the cancellation.",
        text=done.text,
        facts={
            "paid": False,
            "reason": str(done.reason),
            "amount": str(done.amount),
            "currency": done.ccy,
            "repeated": done.repeated,
        },
    )


def cancel(terminal: Terminal, nonce: str | None, *, paid_online: bool) -> Said:
    try:
        wanted = bytes.fromhex(nonce) if nonce is not None else None
    except ValueError as e:
        raise AgentError("edge.nonce_malformed", "a request is named by 16 hex digits") from e
    row = cancel_request(terminal, wanted, paid_online=paid_online)
    how = "was paid another way" if paid_online else "is cancelled"
    return Said(
        ok=True,
        code="edge.request_closed",
        line=f"The request for {format_amount(row.amount, row.ccy)} {how}; it takes no voucher any more.",
        facts={"nonce": row.nonce.hex(), "paid": False},
    )


def synced(terminal: Terminal, done: Synced) -> Said:
    ccy = terminal.ccy
    line = f"Synced: {done.settled_count} sales settled, {format_amount(done.settled, ccy)}"
    if done.refused:
        lost = sum(amount for _, _, amount in done.refused)
        line += f"; {len(done.refused)} NOT settled, {format_amount(lost, ccy)}"
    if done.forked:
        line += "; this terminal is quarantined"
    return Said(
        ok=not done.refused and not done.forked,
        code="edge.synced",
        line=line + ".",
        look=Look.FINE if not done.refused and not done.forked else Look.NOT_PAID,
        detail="\n".join(
            f"row {seq}: {format_amount(amount, ccy)}: {operator_sentence(verdict)}"
            for seq, verdict, amount in done.refused
        ),
        facts={
            "rounds": done.rounds,
            "sent": done.sent,
            "settled_count": done.settled_count,
            "settled": str(done.settled),
            "refused": [
                {"seq": seq, "result": str(verdict), "amount": str(amount)}
                for seq, verdict, amount in done.refused
            ],
            "revoked_to": done.revoked_to,
            "bundle_version": done.bundle_version,
            "quarantined": done.forked,
            "left": done.left,
        },
    )


def backed_up(file: Path, manifest: Manifest) -> Said:
    return Said(
        ok=True,
        code="edge.backed_up",
        line=f"The backup is written: {file}",
        look=Look.FINE,
        detail="It is the terminal itself: keep it and its passphrase apart, and off this machine.",
        facts={
            "terminal": manifest.terminal,
            "schema": manifest.schema,
            "bytes": sum(size for _, size in manifest.parts),
        },
    )


def restored(done: Restored) -> Said:
    return Said(
        ok=True,
        code="edge.restored",
        line="A new history has begun. Sync once before the next sale.",
        look=Look.FINE,
        facts={"closed": done.closed, "carried": done.carried, "epoch": done.epoch.hex()},
    )


def sales(store: TerminalStore, limit: int) -> Said:
    rows = store.redeemed_list(limit)
    return Said(
        ok=True,
        code="edge.list",
        line=f"Sales shown: {len(rows)}",
        columns=("at", "amount", "state", "sale"),
        rows=[
            {
                "at": moment(row.accepted_at_s),
                "amount": format_amount(row.amount, row.ccy),
                "minor": str(row.amount),
                "state": "returned" if row.returned else row.result or "not yet settled",
                "why": _why(row),
                "seq": row.seq,
                "sale": row.nonce.hex(),
                "h": row.h.hex(),
            }
            for row in rows
        ],
    )


def _why(row: RedeemedRow) -> str | None:
    """Say why the server does not settle a sale; None for one that stands."""
    if row.returned or row.result in {None, Verdict.ACCEPTED, Verdict.DUPLICATE}:
        return None
    return operator_sentence(Verdict(row.result))


def status(store: TerminalStore, clock: Clock) -> Said:
    """Say what stands unsettled, and whether the next sale can be asked for."""
    me, stands = store.must_me(), standing(store, clock)
    state, totals, risk = stands.state, stands.totals, stands.risk
    found = findings(stands)
    certificate = read_certificate(me.cert)
    return Said(
        ok=not worst(found),
        code="edge.status",
        line=f"{certificate.name}: {totals.unsettled_count} sales not yet settled, "
        f"{format_amount(totals.unsettled, stands.ccy)}",
        detail="\n".join(worst(found)),
        facts={
            "name": certificate.name,
            "terminal": me.terminal.hex(),
            "payee": me.payee.hex(),
            "server": me.server,
            "unsettled": str(totals.unsettled),
            "unsettled_count": totals.unsettled_count,
            "open_requests": totals.open_count,
            "floor_limit": None if risk is None else str(risk.hard_sum),
            "epoch": state.epoch.hex(),
            "head_seq": state.head_seq,
            "acked_seq": state.acked_seq,
            "revocations": state.applied,
            "evidence": store.evidence_count(),
            "last_sync": moment(state.last_sync_s),
            "clock_trusted": clock_trusted(stands),
            "must_sync": state.must_sync,
            "quarantined": state.quarantined,
        },
        rows=finding_rows(found),
    )


def examined(found: list[Finding]) -> Said:
    """Say what the doctor found, what stops sales first."""
    bad = worst(found)
    return Said(
        ok=not bad,
        code="edge.examined",
        line=f"{len(bad)} of {len(found)} things are wrong" if bad else "This terminal is well.",
        look=Look.NOT_PAID if bad else Look.FINE,
        detail="\n".join(bad),
        rows=finding_rows(found),
    )


def worst(found: list[Finding]) -> list[str]:
    return [f"{one.what}: {one.says}. Do: {one.do}." for one in found if one.level is Level.BAD]


def finding_rows(found: list[Finding]) -> list[dict[str, object]]:
    return [
        {"what": one.what, "state": str(one.level), "says": one.says, "do": one.do or None}
        for one in found
    ]


def journal(store: TerminalStore, limit: int) -> Said:
    store.must_me()
    state = store.state()
    broken = broken_at(store)
    rows = store.journal(state.epoch, max(1, state.head_seq - limit + 1), limit)
    return Said(
        ok=broken is None,
        code="edge.journal" if broken is None else "edge.journal_broken",
        line=f"{state.head_seq} rows, {state.acked_seq} acknowledged; "
        + ("the chain holds." if broken is None else f"THE CHAIN IS BROKEN at row {broken}."),
        look=Look.PLAIN if broken is None else Look.NOT_PAID,
        facts={"chain_ok": broken is None},
        rows=[
            {
                "seq": row.seq,
                "row": _row_words(read_row(row.row)),
                "at": moment(row.written_at_s),
                "result": row.result,
                "chain": row.chain.hex()[:16],
            }
            for row in rows
        ],
    )


def archived(folder: Path, store: TerminalStore, number: int) -> Said:
    """Say what a segment of the archive holds, once it and all before it are found whole."""
    found = None
    try:
        for entry, segment in segments(folder, ArchiveStore(store.db).entries()):
            if entry.number == number:
                found = segment
                break
    except SegmentBroken as e:
        raise AgentError("edge.archive_broken", str(e)) from e
    if found is None:
        raise AgentError("edge.archive_unknown", f"the archive has no segment {number}")
    return Said(
        ok=True,
        code="edge.archived",
        line=f"Segment {number}: rows {found.first_seq} to {found.last_seq}",
        rows=[
            {
                "seq": seq,
                "row": _row_words(read_row(one.row)),
                "at": moment(one.written_at_s),
                "result": one.result,
            }
            for seq, one in enumerate(found.rows, found.first_seq)
        ],
    )


def _row_words(row: Row) -> str:
    match row:
        case Accept():
            v = row.signed.voucher
            return f"ACCEPT {format_amount(v.amount, row.signed.allowance.ccy)} no. {v.counter}"
        case Close():
            return f"CLOSE {row.nonce.hex()} {row.reason}"
        case VoidRow():
            return f"VOID {row.nonce.hex()} {row.signed.void.reason}"
        case Apply():
            return f"APPLY {row.epoch}"
        case NewEpoch():
            return f"EPOCH {row.new_epoch.hex()} after {row.old_seq} of {row.old_epoch.hex()}"
