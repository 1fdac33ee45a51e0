"""The agent's SQLite files: how they are opened, what stands in them, and all SQL over them."""
