"""`make bench`: every figure, each against a baseline of the same run; exit 1 when a goal is missed."""

import sys

import uvloop

from bench import agent, graphql, ledger, redemption, relay, webhooks


def main() -> None:
    held = [
        uvloop.run(ledger.main()),
        graphql.main(),
        redemption.main(),
        agent.main(),
        uvloop.run(relay.main()),
        uvloop.run(webhooks.main()),
    ]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
