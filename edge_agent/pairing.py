"""Pairing a home as a shop's terminal: the enrolment, then the first sync, which may fail and be repeated."""

import asyncio
from dataclasses import dataclass

from edge_agent.enrol import enrol_terminal
from edge_agent.errors import AgentError, VerdictError
from edge_agent.home import Home
from edge_agent.server import Server
from edge_agent.sync import sync
from edge_agent.trust import read_pairing


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Whose terminal this is now; `trouble` says why the first sync failed, if it did."""

    name: str
    trouble: str = ""


def pair(home: Home, pairing_text: str, server: str, currency: str) -> Paired:
    """Enrol by HUNDI-PAIR:… and sync once. What the server does not grant leaves nothing behind."""
    pairing = read_pairing(pairing_text)

    async def enrolled() -> str:
        async with Server(server) as door:
            with home.locked("terminal"), home.terminal_store(create=True, held=True) as store:
                keys = home.keys("terminal", create=True)
                certificate = await enrol_terminal(
                    store,
                    keys,
                    door,
                    pairing,
                    clock=home.clock,
                    entropy=home.entropy,
                    currency=currency,
                )
        return certificate.name

    async def synced() -> None:
        with home.terminal() as opened:
            async with Server(opened.me.server) as door:
                await sync(opened, door)

    name = asyncio.run(enrolled())
    try:
        asyncio.run(synced())
    except (AgentError, VerdictError) as e:
        return Paired(name=name, trouble=str(e))
    return Paired(name=name)
