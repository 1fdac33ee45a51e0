"""`make bench-payments`: payments in one run on one machine; exit 1 when a required goal is missed.

SECONDS (60 unless set) is how long the engine, the UPI path and the faults are each kept busy.
`--profile` shows where a payment's time goes instead.
"""

import logging
import os
import sys
from dataclasses import replace

import structlog
import uvloop

from bench import (
    graphql,
    payments,
    payments_faults,
    payments_profile,
    payments_refunds,
    payments_upi,
)
from bench.cluster import cluster
from bench.figures import Figure, report
from bench.ledger import version

GRAPHQL_GOALS = {16: 0.60, 64: 0.70}
AIM = 0.80


def over_graphql(count: int = graphql.N) -> list[Figure]:
    """The rows of `bench.graphql`, with the goals that payments have."""
    rows = []
    for one in graphql.figures(count):
        clients = next((n for n in GRAPHQL_GOALS if f", {n} clients" in one.name), None)
        if clients is None or one.ratio is None:
            rows.append(one)
            continue
        least = GRAPHQL_GOALS[clients]
        rows.append(
            replace(
                one, name=f"GraphQL {one.name}", goal=f"≥ {least} of constants; aim {AIM}",
                holds=one.ratio >= least,
            )
        )  # fmt: skip
    return rows


async def engine_and_rails(found: list[Figure]) -> None:
    """Each part on a database of its own, unconfigured."""
    for measure in (
        payments.measure,
        payments_upi.measure,
        payments_refunds.measure,
        payments_faults.measure,
    ):
        async with cluster() as url:
            if not found:
                found.append(await version(url))
            found += await measure(url)


def main() -> bool:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if "--profile" in sys.argv:
        uvloop.run(payments_profile.main())
        return True
    print(f"load before: {os.getloadavg()}")
    found: list[Figure] = []
    uvloop.run(engine_and_rails(found))
    found += over_graphql()
    print(f"load after: {os.getloadavg()}")
    return report("payments", found)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
