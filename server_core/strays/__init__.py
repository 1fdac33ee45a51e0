"""Debits that nobody waits for: caught, held apart, given back once."""
