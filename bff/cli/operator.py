"""The Actor of the command line: whoever may run it on this machine is an operator."""

from uuid import UUID

from server_core.actor import Actor, Role
from server_core.app import Core
from server_core.errors import DomainError
from server_core.ids import parse
from server_core.parties import service as parties
from server_core.parties.model import Party

OPERATOR = Actor(party=None, role=Role.OPERATOR, assurance=2)


async def party_of(core: Core, text: str) -> Party:
    """A party by public id or by its exact name; raises when it is not exactly one."""
    async with core.db.reader() as reader:
        try:
            identity: UUID | None = parse("pty", text)
        except DomainError:
            identity = None
        if identity is not None:
            return await parties.get(reader, identity)
        return await parties.by_name(reader, text)
