"""Passkeys: made, used to sign in and to prove a person again, named and ended."""
