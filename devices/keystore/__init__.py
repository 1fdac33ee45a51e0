"""Where a device's signing key lives and what it refuses to sign; import the file you need."""
