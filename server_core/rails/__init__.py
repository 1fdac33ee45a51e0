"""The doors to other people's money systems: the port, the UPI adapter, when to ask again."""
