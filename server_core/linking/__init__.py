"""Payers' devices: the signing key of each, proved and registered."""
