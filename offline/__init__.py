"""What must be true with no network: OV1's codec, rules and pictures. Pure; no I/O."""
