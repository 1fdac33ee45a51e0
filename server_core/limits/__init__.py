"""Limits that a regulator or a profile sets: rows with their source and first day, never constants."""
