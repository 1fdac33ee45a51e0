"""The road to PostgreSQL: pool, units of work, group commit, migrations, the embedded server."""
