"""The REST face: one file a subject, over the same commands of the core as GraphQL."""
