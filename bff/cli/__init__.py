"""The `hundi` command line, one file a noun."""
