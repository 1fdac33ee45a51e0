"""A party as the other side of a payment may see it: a name, and no more."""

from typing import Self

import strawberry

from server_core.actor import Role
from server_core.ids import public
from server_core.parties import model

strawberry.enum(model.Kind, name="PartyKind", description="A person or a shop.")
strawberry.enum(Role, name="Role", description="In what capacity the viewer acts.")


@strawberry.type(description="A person or a shop.")
class Party:
    id: strawberry.ID
    name: str
    kind: model.Kind

    @classmethod
    def of(cls, party: model.Party) -> Self:
        return cls(id=strawberry.ID(public("pty", party.id)), name=party.name, kind=party.kind)
