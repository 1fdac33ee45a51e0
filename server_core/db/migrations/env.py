"""Alembic's entry: runs on the connection that server_core.db.migrate hands in."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=context.config.attributes["metadata"],
    compare_server_default=True,
    transactional_ddl=True,
)
context.run_migrations()
