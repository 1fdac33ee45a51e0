"""Opaque sessions, hashed at rest: the only place besides terminals that makes an Actor."""
