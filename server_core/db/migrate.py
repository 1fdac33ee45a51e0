"""Migrations: applied at start, as owner, under an advisory lock, one cell (schema) at a time.

The application's role is made here too; it may add rows everywhere and change or delete only what
its table grants (history is append-only by REVOKE first and by trigger second).
"""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from devices.clock import SystemClock
from server_core.db.connect import LOST, Connector, patiently
from server_core.db.embedded import OWNER
from server_core.db.work import APP_ROLE, schema_of
from server_core.errors import unavailable

_SCRIPTS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x48554E4449  # "HUNDI"


async def make_database(url: str, name: str = "hundi") -> None:
    """Create database `name` on the embedded server, whose only other one is `postgres`."""
    admin = url.replace(f"/{name}?", "/postgres?")
    connection = await patiently(Connector(admin), SystemClock())
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f'CREATE DATABASE "{name}" OWNER {OWNER}')
    finally:
        await connection.close()


async def upgrade(url: str, cell: int = 0) -> str:
    """Bring the cell's schema to this release; its revision. Raises db.newer_schema."""
    return str(await _with_cell(url, cell, _upgrade))


async def differences(url: str, metadata: MetaData, cell: int = 0) -> list[Any]:
    """What the declared tables and the migrated ones disagree about; empty in a true house."""

    def compare(connection: Connection, _cell: int) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, metadata))

    found: list[Any] = await _with_cell(url, cell, compare)
    return found


async def revise(url: str, metadata: MetaData, message: str, cell: int = 0) -> None:
    """Write the next migration from the difference, to be read and mended by hand."""

    def write(connection: Connection, _cell: int) -> None:
        command.revision(_config(connection, metadata), message, autogenerate=True)

    await _with_cell(url, cell, write)


def _upgrade(connection: Connection, cell: int) -> str:
    schema = schema_of(cell)
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    connection.execute(text(_ROLE))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {APP_ROLE}"))
    config = _config(connection, MetaData())
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise unavailable(
            "db.newer_schema",
            f"the database stands at revision {current}, newer than this release: upgrade Hundi",
        )
    command.upgrade(config, "head")
    return str(scripts.get_current_head())


def _config(connection: Connection, metadata: MetaData) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config


async def _with_cell(url: str, cell: int, do: Any) -> Any:
    connector = Connector(url)

    async def connect(**options: Any) -> Any:
        return await patiently(partial(connector, **options), SystemClock())

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(
            connect,
            server_settings={"search_path": schema_of(cell), "lock_timeout": "60s"},
        ),
    )
    try:
        async with asyncio.timeout(300), engine.begin() as connection:
            return await connection.run_sync(do, cell)
    except (DBAPIError, *LOST) as error:
        if isinstance(error, DBAPIError) and not isinstance(_cause(error), LOST):
            raise
        raise unavailable("db.unreachable", "PostgreSQL went away while it was migrated") from error
    finally:
        await engine.dispose()


def _cause(error: DBAPIError) -> BaseException | None:
    """Find the driver's own error below SQLAlchemy's two layers."""
    return error.orig.__cause__ if error.orig is not None else None


_ROLE: Final = f"""
DO $$ BEGIN
  BEGIN
    CREATE ROLE {APP_ROLE} NOLOGIN;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  EXECUTE format('GRANT {APP_ROLE} TO %I', current_user);
END $$
"""
