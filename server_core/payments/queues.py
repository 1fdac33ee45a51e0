"""The two queues of payments: confirms, and what rails answered them; each committed many at a time."""

from functools import partial

from server_core.db.batch import Batch
from server_core.db.work import Database
from server_core.payments.confirming import Confirmed, confirm_many, rows_of
from server_core.payments.landing import Landed, Landing, land_many
from server_core.payments.model import Confirm, Pay
from server_core.rails.connected import Rails


class Confirmations:
    """One process's confirms over `rails`, and their landings.

    Landings have one lane: each of them needs the row of what its rail owes us, and would wait for
    another lane's commit.
    """

    __slots__ = ("_confirms", "_landings")

    def __init__(self, db: Database, rails: Rails) -> None:
        self._confirms: Batch[Confirm | Pay, Confirmed] = Batch(
            db, partial(confirm_many, rails=rails), keys=rows_of
        )
        self._landings: Batch[Landing, Landed] = Batch(db, partial(land_many, rails=rails), lanes=1)

    async def submit(self, command: Confirm | Pay) -> Confirmed:
        """Transaction 1's outcome, after its commit; raises what it was refused with."""
        return await self._confirms.submit(command)

    async def land(self, landing: Landing) -> Landed:
        """Transaction 2's outcome, after its commit."""
        return await self._landings.submit(landing)

    @property
    def waiting(self) -> dict[str, int]:
        """How many of each wait for a commit to take them."""
        return {"confirms": self._confirms.waiting, "landings": self._landings.waiting}

    async def close(self) -> None:
        """Take nothing more; wait for what was taken: confirms first, their landings after them."""
        await self._confirms.close()
        await self._landings.close()
