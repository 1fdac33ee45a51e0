"""The one schema, and its text as graph/schema.graphql holds it."""

from typing import Final

import strawberry
from graphql import GraphQLSchema
from strawberry.schema.config import StrawberryConfig

from graph.money import MINOR_UNITS, MinorUnits
from graph.mutations import Mutation
from graph.refusals import InsufficientFunds, LimitExceeded, Refusal
from graph.subscriptions import Subscription
from graph.viewer import Query

SCHEMA: Final = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    types=[Refusal, InsufficientFunds, LimitExceeded],
    config=StrawberryConfig(scalar_map={MinorUnits: MINOR_UNITS}),
)


def sdl() -> str:
    """The schema in GraphQL's own language, with a newline at its end."""
    return SCHEMA.as_str() + "\n"


def compiled(schema: strawberry.Schema = SCHEMA) -> GraphQLSchema:
    """What GraphQL's own functions parse against, validate and execute."""
    return schema._schema  # noqa: SLF001 - Strawberry has no public name for it
