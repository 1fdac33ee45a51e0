"""What a device is: clocks, randomness, key stores, passkey ceremonies. No database; import the file you need."""
