"""People and shops: who owns accounts."""
