"""Routes for our own programs: the agent's door, sessions, health and GraphQL's transport."""
