"""State and money: all rules and all SQL, one folder a slice."""
