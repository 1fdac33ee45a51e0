"""Worlds with cheats among the people: cloned devices, codes shown again, forged and altered ones, files put back."""

import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from nacl.signing import SigningKey

from edge_agent.accepting import accept
from edge_agent.asking import ask, cancel
from edge_agent.errors import AgentError, VerdictError
from edge_agent.voiding import void
from offline.codec import allowance_bytes, voucher_bytes
from offline.signing import allowance_message, voucher_message
from offline.wire import SignedVoucher
from server_core.actor import Actor, Role
from server_core.db.work import Reader
from server_core.errors import DomainError
from server_core.vouchers import service as vouchers
from server_core.vouchers.model import Bearer
from tests.sim_offline import laws
from tests.sim_offline.agents import Phone, Shop
from tests.sim_offline.books import Sale
from tests.sim_offline.laws import Broken
from tests.sim_offline.world import OPERATOR, STEPS, TOTAL, World

CHEATS: Final = {
    "clone": 4, "clone pays": 60, "replay": 30, "altered": 30, "raised": 20, "forged": 20,
    "void of a flipped copy": 15, "void at another shop": 15, "thief pays": 20,
    "copy of a terminal": 4, "copy put back": 3,
}  # fmt: skip
_REMEMBERED: Final = 300


class CheatedError(Exception):
    """A cheat got what he must not get."""


@dataclass(slots=True)
class CrookedWorld(World):
    """The same city; what honest people have must still be right at the end."""

    crooks: set[UUID] = field(default_factory=set)
    clones: list[Phone] = field(default_factory=list)
    stolen: list[Phone] = field(default_factory=list)
    copies: dict[str, Any] = field(default_factory=dict)
    outlaws: list[Shop] = field(default_factory=list)
    away: list[Shop] = field(default_factory=list)
    cloned: Counter[bytes] = field(default_factory=Counter)
    unwatched: set[UUID] = field(default_factory=set)
    recent: list[tuple[Sale, str]] = field(default_factory=list)
    everybody_honest: bool = False

    @property
    def watched(self) -> set[UUID]:
        bad = self.crooks | self.unwatched | {one.party for one in (*self.outlaws, *self.away)}
        return {*self.books.funds, *(one.party for one in self.shops)} - bad

    def honest(self, sale: Sale) -> bool:
        return sale.payer not in self.crooks and sale.terminal not in {
            one.terminal.me.terminal for one in (*self.outlaws, *self.away)
        }

    async def paid(self, reader: Reader) -> set[bytes]:
        rows = await reader.rows("SELECT h FROM voucher_settled UNION SELECT h FROM voucher_claim")
        return {row["h"] for row in rows}

    def losses(self) -> list[int]:
        """By clone, what it cost shops: what they took and the server refused."""
        by: Counter[bytes] = Counter()
        for h in self.refused:
            sale = self.books.sales[h]
            by[sale.signed.allowance.aid] += sale.amount
        return [by[aid] // count for aid, count in self.cloned.items() for _ in range(count)]

    def of_the_loss(self) -> Broken | None:
        """A cloned device costs a hold at most, for each copy of it."""
        by: Counter[bytes] = Counter()
        for h in self.refused:
            sale = self.books.sales[h]
            if sale.payer in self.crooks and self.cloned[sale.signed.allowance.aid]:
                by[sale.signed.allowance.aid] += sale.amount
        for aid, lost in by.items():
            if lost > TOTAL * self.cloned[aid]:
                why = f"{lost} by {self.cloned[aid]} copies of {aid.hex()}"
                return Broken("a clone costs at most the hold", why)
        return None

    def steps(self) -> dict[str, int]:
        return STEPS | {f"cheat: {name}": weight * 5 for name, weight in CHEATS.items()}

    async def _do(self, what: str) -> bool:
        if not what.startswith("cheat: "):
            return await World._do(self, what)
        name = what.removeprefix("cheat: ")
        try:
            done = await self._cheat(name)
        except CheatedError as e:
            raise CheatedError(f"seed {self.seed}: {name}: {e}") from e
        self.counts[f"tried: {name}"] += done
        return False

    def scan(self, shop: Shop, sale: Sale, text: str) -> Any:
        result = World.scan(self, shop, sale, text)
        self.recent = [*self.recent[-_REMEMBERED:], (sale, text)]
        return result

    async def _cheat(self, name: str) -> bool:
        dice = self.dice
        match name:
            case "clone":
                return self._clone(dice.pick(self.phones))
            case "clone pays":
                return bool(self.clones) and self._pays(dice.pick(self.clones))
            case "thief pays":
                return bool(self.stolen) and self._pays(dice.pick(self.stolen))
            case "copy of a terminal":
                return self._copy(dice.pick(self.shops))
            case "copy put back":
                return await self._put_back()
            case "replay" | "void of a flipped copy" | "void at another shop":
                return bool(self.recent) and self._again(name, *dice.pick(self.recent))
            case _:
                return self._fake(name, dice.pick(self.shops), dice.pick(self.phones))

    # Devices

    def _clone(self, phone: Phone) -> bool:
        held = phone.payer.store.usable()
        if held is None or held.state != "active":
            return False
        self.crooks.add(phone.party)
        made = phone.clone(self.folder / f"{phone.name}-{len(self.clones)}")
        self.cloned[held.signed.allowance.aid] += 1
        self.clones.append(made)
        return True

    def _signed(self, shop: Shop, phone: Phone) -> SignedVoucher | None:
        """What a phone signs for a new request of the shop; None where one of the two cannot."""
        try:
            asked = ask(shop.terminal, self.dice.between(100, 1_900))
        except (VerdictError, AgentError):
            return None
        signed = self.signs(phone, asked.text, "cheat")
        if signed is None:
            cancel(shop.terminal)
        return signed

    def _pays(self, phone: Phone) -> bool:
        """A sale like any other: the shop cannot know."""
        shop = self.dice.pick(self.shops)
        signed = self._signed(shop, phone)
        if signed is None:
            return False
        sale = self.books.sale(signed, phone.party, shop.party, shop.terminal.me.terminal)
        sale.story.append(f"{phone.name} cheats at {shop.name}")
        result = self.scan(shop, sale, signed.to_text())
        self.counts[f"cheat at the counter: {result.verdict}"] += 1
        if not result.paid:
            self._void(shop, phone, sale, signed.to_text())
        return True

    async def _lose(self, phone: Phone) -> None:
        """Who finds it goes on paying from it, until the shops have heard."""
        await World._lose(self, phone)
        self.crooks.add(phone.party)
        phone.start()
        self.stolen.append(phone)

    # Codes

    def _again(self, name: str, sale: Sale, text: str) -> bool:
        shop = self.dice.pick(self.shops)
        if name == "replay":
            try:
                ask(shop.terminal, sale.amount)
            except (VerdictError, AgentError):
                return False
            result = accept(shop.terminal, text)
            if result.paid:
                raise CheatedError("an old code paid a new sale")
            self.counts[f"cheat at the counter: {result.verdict}"] += 1
            cancel(shop.terminal)
            return True
        signed = sale.signed
        if name == "void at another shop":
            shops = [one for one in self.shops if one.terminal.me.terminal != sale.terminal]
            shop, given = self.dice.pick(shops), text
        else:
            if not sale.kept:
                return False
            found = [one for one in self.shops if one.terminal.me.terminal == sale.terminal]
            if not found:
                return False
            [shop] = found
            sig = bytes([signed.sig_v[0] ^ 1]) + signed.sig_v[1:]
            given = SignedVoucher.of(
                signed.kid, signed.allowance_raw, signed.sig_a, signed.voucher_raw, sig
            ).to_text()
        try:
            void(shop.terminal, given)
        except (VerdictError, AgentError) as e:
            self.counts[f"cheat, no void: {getattr(e, 'verdict', getattr(e, 'code', ''))}"] += 1
            return True
        raise CheatedError("a void was signed")

    def _fake(self, name: str, shop: Shop, phone: Phone) -> bool:
        """A good voucher spoiled on its way; then the good one, which must still be taken."""
        signed = self._signed(shop, phone)
        if signed is None:
            return False
        result = accept(shop.terminal, self._spoiled(name, signed))
        if result.paid:
            raise CheatedError("a spoiled code was taken")
        self.counts[f"cheat at the counter: {result.verdict}"] += 1
        sale = self.books.sale(signed, phone.party, shop.party, shop.terminal.me.terminal)
        sale.story.append(f"{phone.name} at {shop.name}: after a code that was {name}")
        if not self.scan(shop, sale, signed.to_text()).paid:
            self._void(shop, phone, sale, signed.to_text())
        return True

    def _spoiled(self, name: str, signed: SignedVoucher) -> str:
        parts = [signed.kid, signed.allowance_raw, signed.sig_a, signed.voucher_raw, signed.sig_v]
        if name == "raised":
            voucher = replace(signed.voucher, cum=signed.voucher.cum - signed.voucher.amount + 1)
            parts[3] = voucher_bytes(replace(voucher, amount=1))
        elif name == "forged":
            key = SigningKey(self.city.entropy.bytes(32))
            raw = allowance_bytes(
                replace(signed.allowance, device_key=bytes(key.verify_key), cap_total=200_000)
            )
            parts[1:3] = [raw, key.sign(allowance_message(signed.kid, raw)).signature]
            parts[4] = key.sign(voucher_message(raw, signed.voucher_raw)).signature
        else:
            text = signed.to_text()
            at = self.dice.between(5, len(text) - 1)
            other = "A" if text[at] != "A" else "B"
            return text[:at] + other + text[at + 1 :]
        return SignedVoucher.of(*parts).to_text()

    # Terminals

    def _copy(self, shop: Shop) -> bool:
        shop.terminal.store.db.close()
        place = self.folder / f"copy of {shop.name}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(shop.folder, place)
        shop.start()
        self.copies[shop.name] = place
        return True

    async def _put_back(self) -> bool:
        """An old copy in place of the files, without the command: what was sold since is the shop's loss."""
        found = [one for one in self.shops if one.name in self.copies]
        if not found or len(self.outlaws) >= len(self.shops) // 3:
            return False
        shop = self.dice.pick(found)
        place = self.copies.pop(shop.name)
        shop.terminal.store.db.close()
        shutil.rmtree(shop.folder)
        shutil.copytree(place, shop.folder)
        shop.start(power=True)
        self.outlaws.append(shop)
        # Its customers' money is as the server knows it, whatever the shop forgot.
        terminal = shop.terminal.me.terminal
        self.unwatched |= {
            one.payer for one in self.books.sales.values() if one.terminal == terminal
        }
        return True

    # Coming home too late

    async def _come_home(self) -> Broken | None:
        late = (
            [one for one in self.shops if one not in self.outlaws][:1]
            if self.dice.chance(2)
            else []
        )
        for shop in late:
            self.away.append(shop)
            self.shops.remove(shop)
            terminal = shop.terminal.me.terminal
            self.unwatched |= {
                one.payer for one in self.books.sales.values() if one.terminal == terminal
            }
        broken = await World._come_home(self) or self.of_the_loss()
        if broken:
            return broken
        for shop in late:
            await self._comes_late(shop)
            self.shops.append(
                await self._shop(f"S{len(self.shops) + len(self.away) * 100}", shop.party)
            )
        return None

    async def _comes_late(self, shop: Shop) -> None:
        """Its allowances are closed: what it took is claimed, and decided by an operator."""
        self.counts["a shop came home late"] += 1
        await self._home(shop)
        merchant = Actor(party=shop.party, role=Role.MERCHANT, assurance=2)
        for row in shop.terminal.store.redeemed_list(1_000_000):
            if row.returned or row.result in {None, *laws.GOOD}:
                continue
            try:
                claim = await vouchers.claim(self.city.db, merchant, row.h)
                self.counts[f"late: {claim.state}"] += 1
                if claim.state == "waiting":
                    bearer = self.dice.pick([*Bearer])
                    await vouchers.decide(self.city.db, OPERATOR, row.h, bearer)
                    self.counts[f"late, decided: {bearer}"] += 1
            except DomainError as e:
                self.counts[f"late: {e.code}"] += 1

    def close(self) -> None:
        World.close(self)
        for phone in (*self.clones, *self.stolen):
            phone.close()
        for shop in self.away:
            shop.terminal.store.db.close()
