"""Whom agents trust: the root key, the issuer's keys, the signed bundle, and one-use server nonces."""
