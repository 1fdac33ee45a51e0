"""`make bench-offline`: offline payments in one run on one machine; exit 1 when a goal is missed."""

import os
import sys

from bench import agent, offline_sync, redemption
from bench.figures import report


def main() -> bool:
    print(f"load before: {os.getloadavg()}")
    found = redemption.figures() + offline_sync.figures() + agent.figures()
    print(f"load after: {os.getloadavg()}")
    return report("offline", found)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
