"""The append-only event log, which is also the outbox, and its live tail."""
