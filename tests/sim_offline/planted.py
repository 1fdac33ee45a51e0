"""The faults that the simulation of vouchers must find: each changes one place of agent, protocol or server."""

from typing import Final

from tests.sim.planted import Mutant

MUTANTS: Final = (
    Mutant(
        "rows are acknowledged without their results", "edge_agent.terminal_rules",
        " and acked_seq + 1 in heard and not forked", " and not forked",
    ),
    Mutant(
        "all that was sent counts as acknowledged", "edge_agent.sync",
        "work.state.acked_seq = said.acked_seq", "work.state.acked_seq = header.head_seq",
    ),
    Mutant(
        "a sale is shown before its commit", "edge_agent.store.database",
        '            connection.execute("COMMIT")\n', '            connection.execute("ROLLBACK")\n',
    ),
    Mutant(
        "an old code looks like this sale's", "edge_agent.terminal_rules",
        "return row is not None and row.nonce == screen and screen == nonce",
        "return row is not None",
    ),
    Mutant(
        "a device forgets what it spent", "edge_agent.payer_rules",
        "cum + request.body.amount", "request.body.amount",
    ),
    Mutant(
        "a refund gives back nothing", "server_core.vouchers.endings",
        "amount=left[void.h]))", "amount=0))",
    ),
    Mutant(
        "a close gives back what was claimed as well", "server_core.vouchers.rules",
        "unclaimed=tuple(unclaimed), returned=rest)", "unclaimed=tuple(unclaimed), returned=allowance.rest)",
    ),
    Mutant(
        "unclaimed money stays where it is", "server_core.vouchers.jobs",
        " + await unclaiming.give_back_overdue(db)", "",
    ),
    Mutant(
        "one voucher of a batch leaves no row", "server_core.vouchers.settling",
        "await store.insert_settled(work, judged.settled)",
        "await store.insert_settled(work, judged.settled[1:])",
    ),
    Mutant(
        "a stop is believed before it was delivered", "server_core.vouchers.rules",
        "return epoch is not None and item.applied >= epoch", "return epoch is not None",
    ),
    Mutant(
        "a second voucher with one counter settles", "server_core.vouchers.rules",
        "    if holder is not None:\n", "    if holder is not None and holder.h == item.signed.h:\n",
    ),
)  # fmt: skip
