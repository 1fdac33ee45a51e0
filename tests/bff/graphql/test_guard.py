"""Which documents run: bombs are refused fast and before validation, trusted ones fit the schema."""

from pathlib import Path
from time import thread_time

import pytest
from graphql import OperationType, parse

from bff.guard import DOCUMENTS, STRICT, Guard, Measure, Refused, hash_of, only_operation
from graph.schema import compiled

GUARD = Guard(compiled(), dev=False)
DEV = Guard(compiled(), dev=True)


def refused(text: str, guard: Guard = GUARD) -> tuple[list[str], float]:
    """The codes it is refused with, and the CPU seconds that took."""
    began = thread_time()
    with pytest.raises(Refused) as caught:
        guard.by_text(text)
    return [error.extensions["code"] for error in caught.value.errors], thread_time() - began


def chain(length: int, spreads: int = 2) -> str:
    """Fragments that each spread the next one twice: 2^length fields in a few hundred letters."""
    links = [f"fragment F{i} on Viewer {{{f' ...F{i + 1}' * spreads}}}" for i in range(length)]
    return "{viewer{...F0}} " + " ".join([*links, f"fragment F{length} on Viewer {{role}}"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "graphql.syntax"),
        ("{", "graphql.syntax"),
        ("\ud800", "graphql.syntax"),
        ("{" + "a" * 100 + "{" * 190, "graphql.syntax"),
        ("{ viewer { role } } { viewer { role } }", "graphql.one_operation"),
        ("fragment A on Viewer { role }", "graphql.one_operation"),
        ("{" + " ".join(f"viewer{i}" for i in range(300)) + "}", "graphql.too_long"),
        ("{" + "viewer{" * 30 + "role" + "}" * 31, "graphql.too_deep"),
        ("{" + " ".join(f"a{i}: __typename" for i in range(6)) + "}", "graphql.too_many_aliases"),
        (chain(12), "graphql.too_costly"),
        (chain(13), "graphql.too_costly"),
        ("{viewer{...A}} fragment A on Viewer{...B} fragment B on Viewer{...A}", "graphql.invalid"),
        ("{viewer{payments(first:100){edges{node{id attempts{number state method}}}}}}",
         "graphql.too_costly"),
        ("query($n:Int!){viewer{payments(first:$n){edges{node{id attempts{number state method}}}}}}",
         "graphql.too_costly"),
        ("{viewer{payments(first:-100000){edges{node{id}}} " + "statement(first:" + "9" * 5000
         + "){edges{node{id code change{minor currency exponent} balance{minor currency exponent}"
         " paymentId recordedAt}} pageInfo{endCursor hasNextPage}}}"
         " p:viewer{payments(first:100){edges{node{id state purpose description createdAt"
         " amount{minor currency exponent} payee{id name kind} payer{id name kind}}}}}}",
         "graphql.too_costly"),
        ("mutation {a: cancelPayment(input:{id:1}){payment{id}}"
         " b: cancelPayment(input:{id:2}){payment{id}}}", "graphql.one_mutation"),
        ("mutation {...M} fragment M on Mutation {cancelPayment(input:{id:1}){payment{id}}}",
         "graphql.one_mutation"),
        ("{ __schema { types { name } } }", "graphql.invalid"),
        ('{ __type(name: "Query") { name } }', "graphql.invalid"),
        ("{ viewr { role } }", "graphql.invalid"),
        ("subscription { a: paymentStatus(id:1){id} b: paymentStatus(id:2){id} }",
         "graphql.invalid"),
    ],
)  # fmt: skip
def test_what_is_too_much_or_wrong_is_refused_at_once(text: str, code: str) -> None:
    codes, seconds = refused(text)
    assert code in codes
    assert seconds < 0.1


def test_the_walk_is_linear_in_chained_fragments() -> None:
    document = parse(chain(300, spreads=3))
    measure = Measure(compiled(), document, STRICT)
    began = thread_time()
    with pytest.raises(Refused):
        measure.check(only_operation(document))
    assert thread_time() - began < 0.1


def test_suggestions_and_introspection_are_for_developers() -> None:
    with pytest.raises(Refused) as caught:
        GUARD.by_text("{ viewr { role } }")
    assert "Did you mean" not in caught.value.errors[0].message
    with pytest.raises(Refused) as caught:
        DEV.by_text("{ viewr { role } }")
    assert "Did you mean" in caught.value.errors[0].message
    assert DEV.by_text("{ __schema { types { name } } }").kind is OperationType.QUERY


def test_a_document_is_judged_once() -> None:
    text = "{ viewer { role } }"
    assert GUARD.by_text(text) is GUARD.by_text(text)
    assert GUARD.by_text(" " + text) is not GUARD.by_text(text)


def test_every_trusted_document_is_known_by_its_hash_and_by_its_text() -> None:
    paths = sorted(DOCUMENTS.glob("*.graphql"))
    assert len(paths) == len(GUARD.trusted) >= 9
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert GUARD.by_hash(hash_of(text)) is GUARD.by_text(text)
        document = parse(text)
        Measure(compiled(), document, DEV._limits).check(only_operation(document))


def test_trusted_documents_may_ask_for_more_than_strangers(tmp_path: Path) -> None:
    text = "{" + " ".join(f"a{i}: viewer {{ role }}" for i in range(9)) + "}"
    (tmp_path / "wide.graphql").write_text(text)
    guard = Guard(compiled(), dev=False, documents=tmp_path)
    assert guard.by_text(text) is guard.by_hash(hash_of(text))
    assert refused(text + " ", guard)[0] == ["graphql.too_many_aliases"]


def test_a_document_that_does_not_fit_the_schema_stops_the_server(tmp_path: Path) -> None:
    (tmp_path / "old.graphql").write_text("{ viewer { gone } }")
    with pytest.raises(Refused):
        Guard(compiled(), dev=False, documents=tmp_path)
