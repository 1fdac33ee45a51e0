"""The line between an agent and the server: the same questions as over HTTP, on a line that loses, doubles and delays."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID

from devices.clock import ManualClock
from devices.entropy import SeededEntropy
from edge_agent.errors import AgentError
from edge_agent.server import (
    DeviceEnrolled,
    Issued,
    Me,
    Server,
    ServerRefused,
    ServerUnreachable,
    TerminalEnrolled,
)
from server_core.actor import Actor, Role
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.ids import parse, public
from server_core.linking import service as linking
from server_core.money import parse_minor
from server_core.terminals import service as terminals
from server_core.trust.service import Keys
from server_core.vouchers import service as vouchers
from tests.sim.dice import Dice

T = TypeVar("T")
FATES: Final = {
    "fine": 880,
    "request lost": 35,
    "answer lost": 35,
    "delivered twice": 30,
    "late": 20,
}
UNDECIDED: Final = frozenset({"trust.nonce_used", "idempotency.still_running"})


@dataclass(slots=True)
class City:
    """The server of a world, and the lines to it. `cut` names who is away; `late` what is still under way."""

    db: Database
    keys: Keys
    clock: ManualClock
    dice: Dice
    entropy: SeededEntropy
    counts: Counter[str]
    faults: bool = True
    cut: set[str] = field(default_factory=set)
    late: list[tuple[str, Callable[[], Awaitable[object]]]] = field(default_factory=list)

    async def deliver_late(self, who: str | None = None) -> None:
        """Let what was delayed arrive, in any order; nobody hears the answers."""
        due = [one for one in self.late if who in {None, one[0]}]
        self.late = [one for one in self.late if one not in due]
        for _, call in self.dice.some(due, len(due)):
            try:
                await call()
            except DomainError:
                self.counts["line: came too late"] += 1


class Wire(Server):
    """One agent's way to the city. `party` is the payer whose session it has."""

    __slots__ = ("city", "party", "who")

    def __init__(self, city: City, who: str, party: UUID | None = None) -> None:
        self.city, self.who, self.party, self.url = city, who, party, "http://city"

    async def _over(self, call: Callable[[], Awaitable[T]]) -> T:
        city = self.city
        if self.who in city.cut:
            raise ServerUnreachable("partition")
        fate = city.dice.weighted(FATES) if city.faults else "fine"
        if fate != "fine":
            city.counts[f"fault: {fate}"] += 1
        if fate == "request lost":
            raise ServerUnreachable(fate)
        if fate == "late":
            city.late.append((self.who, call))
            raise ServerUnreachable(fate)
        try:
            answer = await call()
        except DomainError as e:
            if e.code in UNDECIDED:
                raise ServerUnreachable(e.code) from e
            raise ServerRefused(e.code, str(e)) from e
        if fate == "delivered twice":
            try:
                await call()
            except DomainError:
                city.counts["line: the second one was refused"] += 1
        if fate == "answer lost":
            raise ServerUnreachable(fate)
        return answer

    def _actor(self) -> Actor:
        return Actor(
            party=self.party, role=Role.PAYER, assurance=2,
            authenticated_at=self.city.clock.now_ms(),
        )  # fmt: skip

    async def nonce(self) -> bytes:
        async def call() -> bytes:
            return self.city.keys.new_nonce(self.city.clock.now_ms(), self.city.entropy)

        return await self._over(call)

    async def bundle(self) -> bytes:
        async def call() -> bytes:
            return self.city.keys.bundle.to_bytes()

        return await self._over(call)

    async def me(self) -> Me:
        assert self.party is not None
        return Me(party=self.party.bytes, name=self.who)

    async def enrol_terminal(
        self, *, code: str, key: bytes, server_nonce: bytes, proof: bytes
    ) -> TerminalEnrolled:
        city = self.city
        async with city.db.work() as work:
            made = await terminals.enrol(
                work, city.entropy, city.keys, code=code, key=key, nonce=server_nonce, proof=proof
            )
        return TerminalEnrolled(
            terminal=made.id, payee=made.payee, kid=made.kid, cert=made.cert, sig_cert=made.sig_cert,
            root_key=city.keys.root_key, bundle=city.keys.bundle.to_bytes(),
        )  # fmt: skip

    async def enrol_device(
        self, *, key: bytes, tier: str, label: str, server_nonce: bytes, proof: bytes
    ) -> DeviceEnrolled:
        city = self.city
        async with city.db.work() as work:
            made = await linking.link(
                work, city.keys, self._actor(), key=key, tier=tier, label=label,
                nonce=server_nonce, proof=proof,
            )  # fmt: skip
        return DeviceEnrolled(
            device=public("dev", made.id), root_key=city.keys.root_key,
            bundle=city.keys.bundle.to_bytes(),
        )  # fmt: skip

    async def issue_allowance(self, body: dict[str, str]) -> Issued:
        city = self.city

        async def call() -> Issued:
            made = await vouchers.issue(
                city.db, city.keys, city.entropy, self._actor(), key=body["idempotency_key"],
                device=parse("dev", body["device"], field="device"), currency=body["currency"],
                cap_total=parse_minor(body["cap_total"], field="cap_total"),
                cap_each=parse_minor(body["cap_each"], field="cap_each"),
            )  # fmt: skip
            return Issued(kid=made.kid, allowance=made.raw, sig=made.sig)

        return await self._over(call)

    async def surrender(self, **given: Any) -> str:
        return str(
            await self._over(lambda: vouchers.surrender(self.city.db, self._actor(), **given))
        )

    async def witness(self, texts: list[str]) -> int:
        city = self.city
        return await self._over(lambda: vouchers.witness(city.db, city.keys, self._actor(), texts))

    async def hand_in_void(self, text: str) -> str:
        return await self._over(lambda: vouchers.hand_in(self.city.db, self.city.keys, text))

    async def sync(self, wire: bytes) -> bytes:
        city = self.city
        return await self._over(lambda: vouchers.sync(city.db, city.keys, city.entropy, wire))

    async def ussd_keys(self, **_given: Any) -> tuple[str, dict[int, bytes]]:
        raise AgentError("edge.server_unreachable", "nobody pays by phone in this city")
