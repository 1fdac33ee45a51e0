"""Offline money on the server: allowances, settlement first seen wins, evidence, voids, close."""
