"""Double entry by TigerBeetle's semantics on PostgreSQL: accounts, immutable transfers, entries."""
