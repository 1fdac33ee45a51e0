"""A USSD session's next page: a PIN chosen, a payment asked for, made, and told in digits."""

import asyncio
from uuid import UUID

from msgspec.structs import replace
from nacl import pwhash
from nacl.exceptions import InvalidkeyError

from devices.entropy import Entropy
from devices.keystore.fields import FieldKeys
from offline import ussd as offline
from offline.signing import algorithm_of, sync_request_message, verify_signature
from server_core.actor import Actor, Role
from server_core.db.work import Database, Emitted, Work
from server_core.errors import DomainError, Kind, conflict, denied, not_found
from server_core.ids import derived
from server_core.limits import service as limits
from server_core.parties import service as parties
from server_core.parties.model import Kind as PartyKind
from server_core.payments import commands
from server_core.payments.model import Create, Method, Pay, State
from server_core.payments.queues import Confirmations
from server_core.rails.connected import Rails
from server_core.terminals import service as terminals
from server_core.terminals.model import State as TerminalState
from server_core.terminals.model import Terminal
from server_core.trust import service as trust
from server_core.trust.service import Keys
from server_core.ussd import rules, store
from server_core.ussd.model import (
    PROFILE,
    AskKeys,
    Line,
    Missing,
    Payment,
    Said,
    TerminalKeys,
    Typed,
)

CURRENCY = "INR"
KEY_DAYS = 4
"""For how many days ahead a terminal is given keys: as long as a voucher may wait for its sync."""

_ASKS = {
    Missing.NEW_PIN: "Choose a PIN of 6 digits:",
    Missing.NEW_PIN_AGAIN: "Type it again:",
    Missing.CODE: "Shop code:",
    Missing.AMOUNT: "Amount in rupees:",
    Missing.CHALLENGE: "The 6 digits on the terminal:",
}


async def link(work: Work, fields: FieldKeys, actor: Actor, *, party: UUID, number: str) -> None:
    """Let a number pay from a person's wallet once its user has chosen a PIN on it; operators.

    Raises ussd.operator, ussd.person, ussd.number_taken.
    """
    _operator(actor)
    person = await parties.get(work, party)
    if person.kind is not PartyKind.PERSON:
        raise conflict("ussd.person", "only a person pays by phone")
    line = Line(number=_index(fields, number), party=party)
    if not await store.insert_line(work, line):
        known = await store.lock_line(work, line.number)
        if known is None or known.party != party:
            raise conflict("ussd.number_taken", "this number pays from another wallet: unlink it")
        return
    work.emit(_event("ussd.linked", party, actor))


async def unlink(work: Work, fields: FieldKeys, actor: Actor, *, number: str) -> None:
    """End a number: sold, lost or ported. Raises ussd.operator, ussd.unknown."""
    _operator(actor)
    line = await _known(work, fields, number)
    await store.delete_line(work, line.number)
    work.emit(_event("ussd.unlinked", line.party, actor))


async def unlock(work: Work, fields: FieldKeys, actor: Actor, *, number: str) -> None:
    """End a lock-out, and have a new PIN chosen: who is locked out has forgotten it, or is not them."""
    _operator(actor)
    line = await _known(work, fields, number)
    await store.save_line(work, replace(line, pin=None, wrong=0, locked_until=0))
    work.emit(_event("ussd.unlocked", line.party, actor))


async def keys_for(
    work: Work, trusted: Keys, fields: FieldKeys, entropy: Entropy, asked: AskKeys
) -> TerminalKeys:
    """What a terminal needs to check answers offline: its code, and the keys of the days to come.

    Signed by the terminal (S, over `OV1U` in the place of a sync's body) with a nonce of ours.
    Raises trust.nonce_used, terminals.unknown, ussd.signature, ussd.no_shop when it is not active.
    """
    await trust.use_nonce(work, trusted, asked.server_nonce)
    terminal = await terminals.get(work, asked.terminal)
    message = sync_request_message(asked.terminal, asked.server_nonce, offline.ASKED_KEYS)
    if not verify_signature(algorithm_of(terminal.key), terminal.key, message, asked.sig):
        raise denied("ussd.signature", "this request is not signed by its terminal", field="sig")
    if terminal.state is not TerminalState.ACTIVE:
        raise denied("ussd.not_active", f"this terminal is {terminal.state}")
    today = work.now_ms // 1000 // offline.DAY_S
    return TerminalKeys(
        code=await code_for(work, entropy, terminal.id),
        keys={day: key_of(fields, terminal.id, day) for day in range(today - 1, today + KEY_DAYS)},
    )


async def code_for(work: Work, entropy: Entropy, terminal: bytes) -> str:
    """The digits that name a terminal to a payer; made at the first asking, and never another's."""
    while (number := await store.code_of(work, terminal)) is None:
        await store.insert_code(work, int.from_bytes(entropy.bytes(8)) % 10**6, terminal)
    return rules.code_of(number)


def key_of(fields: FieldKeys, terminal: bytes, day: int) -> bytes:
    """The key of a terminal's day (days since 1970, UTC), 32 bytes; the index key stands under all."""
    return fields.blind(terminal + day.to_bytes(4), purpose="ussd.terminal_day")


async def page(
    db: Database,
    queue: Confirmations,
    rails: Rails,
    fields: FieldKeys,
    *,
    number: str,
    text: str,
) -> Said:
    """The next page of a session, whose `text` is all that was typed, joined by `*`.

    A repeat of a page that paid says the same digits again and moves nothing. Refusals are pages.
    """
    try:
        return await _page(db, queue, rails, fields, number, text)
    except DomainError as refused:
        if refused.kind is Kind.UNAVAILABLE:
            return Said(
                text="Not answered. Dial again in a minute: nothing is paid twice.", ends=True
            )
        return Said(text=_sentence(refused), ends=True)


async def _page(
    db: Database, queue: Confirmations, rails: Rails, fields: FieldKeys, number: str, text: str
) -> Said:
    async with db.reader() as reader:
        line = await store.line(reader, _index(fields, number))
    if line is None:
        raise _unknown()
    if line.pin is None:
        return await _set_up(db, fields, line, rules.read_setup(text))
    typed = rules.read_payment(text)
    if typed.missing not in {None, Missing.PIN}:
        return Said(text=_ASKS[typed.missing], ends=False)
    shop = await _shop(db, typed)
    if typed.missing is Missing.PIN:
        async with db.reader() as reader:
            name = (await parties.get(reader, shop.party)).name
        return Said(text=f"Pay Rs {_rupees(typed.amount)} to {name[:40]}? Enter PIN:", ends=False)
    await _check_pin(db, fields, line, typed.pin)
    return await _pay(db, queue, rails, fields, line, shop, typed)


async def _set_up(db: Database, fields: FieldKeys, line: Line, typed: Typed) -> Said:
    if typed.missing is not None:
        return Said(text=_ASKS[typed.missing], ends=False)
    hashed = await asyncio.to_thread(pwhash.str, _peppered(fields, line, typed.pin), *_COST)

    async def do(work: Work) -> None:
        now = await store.lock_line(work, line.number)
        if now is None or now.party != line.party or now.pin is not None:
            raise conflict("ussd.pin_set", "a PIN was chosen already")
        await store.save_line(work, replace(now, pin=hashed.decode()))
        work.emit(_event("ussd.pin_set", line.party, _payer(line)))

    await db.transact(do)
    return Said(text="Your PIN is set. Dial again to pay.", ends=True)


_COST = (pwhash.OPSLIMIT_INTERACTIVE, pwhash.MEMLIMIT_INTERACTIVE)


async def _check_pin(db: Database, fields: FieldKeys, line: Line, pin: str) -> None:
    """Count the try first, so that tries at once are as many as are allowed; a right one takes it back."""

    async def count(work: Work) -> Line:
        allowed = await limits.in_force(work, PROFILE)
        now = await store.lock_line(work, line.number)
        if now is None or now.pin is None or now.pin != line.pin:
            raise _unknown()
        if work.now_ms < now.locked_until:
            raise denied("ussd.locked", "too many wrong PINs: try tomorrow, or call us")
        wrong = now.wrong + 1
        lock = wrong >= allowed["pin_tries"]
        after = replace(
            now,
            wrong=0 if lock else wrong,
            locked_until=work.now_ms + allowed["pin_lock_s"] * 1000 if lock else 0,
        )
        await store.save_line(work, after)
        return after

    counted = await db.transact(count)
    right = await asyncio.to_thread(_verify, str(counted.pin), _peppered(fields, line, pin))

    async def settle(work: Work) -> None:
        now = await store.lock_line(work, line.number)
        if now is None or now.pin != counted.pin:
            raise _unknown()
        if right:
            await store.save_line(work, replace(now, wrong=0, locked_until=0))
        elif now.locked_until > work.now_ms:
            work.emit(_event("ussd.locked", line.party, _payer(line)))

    await db.transact(settle)
    if not right:
        raise denied("ussd.wrong_pin", "wrong PIN: nothing was paid")


def _verify(hashed: str, said: bytes) -> bool:
    try:
        return pwhash.verify(hashed.encode(), said)
    except InvalidkeyError:
        return False


def _peppered(fields: FieldKeys, line: Line, pin: str) -> bytes:
    """Six digits are guessed in seconds from a hash alone: this needs the keys folder as well."""
    return fields.blind(line.number + pin.encode(), purpose="ussd.pin")


async def _shop(db: Database, typed: Typed) -> Terminal:
    async with db.reader() as reader:
        terminal = await store.terminal_of(reader, int(typed.code[:-1]))
        if terminal is None:
            raise not_found("ussd.no_shop", "no shop has this code")
        found = await terminals.get(reader, terminal)
        most = (await limits.in_force(reader, PROFILE))["each"]
    if found.state is not TerminalState.ACTIVE:
        raise not_found("ussd.no_shop", "no shop has this code")
    if typed.amount > most:
        raise denied("ussd.over_limit", f"one payment is at most Rs {_rupees(most)}")
    return found


async def _pay(
    db: Database,
    queue: Confirmations,
    rails: Rails,
    fields: FieldKeys,
    line: Line,
    shop: Terminal,
    typed: Typed,
) -> Said:
    day = offline.day_of(typed.challenge, db.clock.now_ms() // 1000 // offline.DAY_S)
    if day is None:
        raise conflict("ussd.challenge_old", "these digits are not of today: ask for new ones")

    async def take(work: Work) -> Payment:
        return await store.take(
            work,
            Payment(
                id=work.ids.new(),
                terminal=shop.id,
                day=day,
                challenge=typed.challenge,
                party=line.party,
                amount=typed.amount,
            ),
        )

    taken = await db.transact(take)
    if (taken.party, taken.amount) != (line.party, typed.amount):
        raise conflict("ussd.challenge_used", "these digits were used: ask for new ones")
    offer = Create(
        actor=_payer(line),
        key=f"ussd-{taken.id}",
        payee=shop.party,
        amount=typed.amount,
        currency=CURRENCY,
        description=f"USSD, terminal {shop.id.hex()}",
    )
    try:
        paid = await commands.confirm(db, queue, rails, Pay(offer=offer, method=Method.BOOK))
    except DomainError as refused:
        # Only a refusal of the payment itself says for certain that nothing was paid by this key.
        if refused.code.startswith("payments.") and refused.kind is not Kind.UNAVAILABLE:

            async def free(work: Work) -> None:
                await store.let_go(work, taken)

            await db.transact(free)
        raise
    if paid.value.state is not State.SUCCEEDED:
        raise AssertionError("a payment from a wallet is paid or refused")
    digits = offline.answer(
        key_of(fields, shop.id, day), shop.id, typed.challenge, typed.amount, day
    )
    return Said(
        text=f"PAID Rs {_rupees(typed.amount)}. Give the shop {digits[:4]} {digits[4:]}", ends=True
    )


async def _known(work: Work, fields: FieldKeys, number: str) -> Line:
    line = await store.lock_line(work, _index(fields, number))
    if line is None:
        raise _unknown()
    return line


def _index(fields: FieldKeys, number: str) -> bytes:
    return fields.blind(rules.msisdn(number), purpose="ussd.msisdn")


def _payer(line: Line) -> Actor:
    """The SIM and its PIN are two factors, but of a phone that anybody may hold: assurance 1."""
    return Actor(party=line.party, role=Role.PAYER)


def _operator(actor: Actor) -> None:
    if actor.role is not Role.OPERATOR:
        raise denied("ussd.operator", "only an operator links and unlocks numbers")


def _unknown() -> DomainError:
    return not_found("ussd.unknown", "this number has no wallet here")


def _rupees(minor: int) -> str:
    return f"{minor // 100:,}.{minor % 100:02}"


def _sentence(refused: DomainError) -> str:
    text = refused.message[:1].upper() + refused.message[1:]
    return text[:160]


def _event(name: str, party: UUID, actor: Actor) -> Emitted:
    return Emitted(
        aggregate_type="ussd_line",
        aggregate_id=derived("ussd", party),
        type=name,
        payload={"party": str(party)},
        actor=actor,
    )
