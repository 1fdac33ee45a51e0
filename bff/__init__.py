"""The server program: HTTP, GraphQL transport, and the `hundi` command line."""
