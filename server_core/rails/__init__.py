"""The doors to other people's money systems: the port, an adapter a rail, when to ask again."""
