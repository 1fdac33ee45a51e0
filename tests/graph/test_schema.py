"""The committed schema is the one that is served."""

from pathlib import Path

from graphql import GraphQLInputObjectType, GraphQLNonNull, build_schema

from graph.schema import SCHEMA, sdl

COMMITTED = Path(__file__).parents[2] / "graph" / "schema.graphql"


def test_the_committed_text_is_the_schema() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == sdl() == SCHEMA.as_str() + "\n"


def test_every_input_that_moves_money_needs_a_key() -> None:
    schema = build_schema(sdl())
    for name in ("CreatePaymentInput", "CreateTopUpInput", "ConfirmPaymentInput"):
        made = schema.get_type(name)
        assert isinstance(made, GraphQLInputObjectType)
        assert isinstance(made.fields["idempotencyKey"].type, GraphQLNonNull)


def test_money_never_travels_as_a_number() -> None:
    schema = build_schema(sdl())
    assert str(schema.get_type("Money").fields["minor"].type) == "MinorUnits!"
    assert "Float" not in sdl()
