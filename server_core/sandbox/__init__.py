"""upi-core's sandbox: a switch in a process of its own, with seeded latencies and faults."""
