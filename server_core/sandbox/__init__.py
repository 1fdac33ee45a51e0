"""upi-core's sandbox: switch, cards and banks in a process of their own, with seeded latencies and faults."""
