"""The core API over plain HTTP, one file a noun."""
