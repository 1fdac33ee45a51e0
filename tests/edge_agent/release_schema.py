"""Writes the files of a terminal and a device of this version as SQL: run it when a version is released.

`python -m tests.edge_agent.release_schema` adds released/<role>-<version>.sql; a file that is there stays.
"""

import tempfile
from pathlib import Path

from devices.entropy import SeededEntropy
from devices.keystore.sealed import CHEAPEST
from devices.keystore.software import SoftwareKeyStore
from edge_agent.accepting import accept
from edge_agent.asking import ask, cancel
from edge_agent.store.database import Database
from edge_agent.voiding import void
from tests.edge_agent.world import World

RELEASED = Path(__file__).with_name("released")


def key_of(folder: Path, name: str) -> None:
    """The key of a released file: the same each time, or the file would belong to nobody."""
    SoftwareKeyStore.create(
        folder / name / "keys", b"pass", cost=CHEAPEST, entropy=SeededEntropy(f"released {name}")
    )


def played(folder: Path) -> World:
    """A terminal that sold, gave back, refused and cancelled, and a device that paid it."""
    world = World(folder)
    for name in ("shop", "asha"):
        key_of(folder, name)
    terminal, payer = world.terminal("shop"), world.payer("asha")
    sold = [payer.pay(ask(terminal, amount).text) for amount in (100, 200, 300)]
    for one in sold:
        assert accept(terminal, one.to_text()).paid
    void(terminal, sold[2].to_text(), give_back=True)
    refused = payer.pay(ask(terminal, 400).text)
    cancel(terminal)
    void(terminal, refused.to_text())
    ask(terminal, 500)
    return world


def dump(db: Database) -> str:
    version = db.first("PRAGMA user_version")
    lines = list(db._connection.iterdump())
    return "\n".join([*lines, f"PRAGMA user_version={version[0]};", ""])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        world = played(Path(name))
        for role, db in zip(("terminal", "payer"), world.opened, strict=True):
            version = db.first("PRAGMA user_version")[0]
            path = RELEASED / f"{role}-{version}.sql"
            if not path.exists():
                path.write_text(dump(db))
        world.close()


if __name__ == "__main__":
    main()
