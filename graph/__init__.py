"""GraphQL types and resolvers, and nothing else: rules live in server_core, transport in bff."""
