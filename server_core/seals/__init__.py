"""Tamper evidence: the journal's rows in a Merkle tree whose heads are signed, off the hot path."""
