"""No card's number stays anywhere: refused at the door, and in no table, event or answer."""

import re

import pytest

from tests.bff.rest.conftest import Door

NUMBERS = ("4111111111111111", "5555 5555 5555 4444", "3782-822463-10005", "6521111111111110")
_RUN = re.compile(r"\d(?:[ -]?\d){13,18}")
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
"""14 to 19 digits: times have 13, RRNs 12."""


def luhn(digits: str) -> bool:
    doubled = [int(d) * 2 if n % 2 else int(d) for n, d in enumerate(reversed(digits))]
    return sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def numbers_in(text: str) -> list[str]:
    """An id's digits may pass the check by chance: ids are no numbers."""
    found = (re.sub(r"[ -]", "", one) for one in _RUN.findall(_ID.sub("|", text)))
    return [one for one in found if luhn(one) and len(set(one)) > 1]


def test_the_grep_finds_what_it_looks_for() -> None:
    assert all(numbers_in(f'{{"x": "{one}"}}') for one in NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("where", ["card_token", "bank"])
async def test_a_number_is_refused_and_never_told_back(door: Door, number: str, where: str) -> None:
    method = {"card_token": "card", "bank": "netbanking"}[where]
    for value in (number, f"tok_{number}"):
        answer = await door.post("/payments", door.payment(method=method, **{where: value}))
        assert answer.status_code == 400, answer.text
        assert numbers_in(answer.text) == []


async def test_nothing_of_them_stays(door: Door) -> None:
    for number in NUMBERS:
        await door.post("/payments", door.payment(method="card", card_token=number))
        await door.post(
            "/payments", door.payment(method="card", card_token="tok_asha", bank=number)
        )
        await door.post("/payments", door.payment(method="card", unknown=number))
        vpa = re.sub(r"\D", "", number) + "@okbank"  # an account's number, as UPI allows it
        await door.post("/payments", door.payment(method="upi", payer_vpa=vpa))
    paid = await door.post("/payments", door.payment(method="card", card_token="tok_asha"))
    assert paid.status_code == 201, paid.text
    tables = await door.sql(
        "SELECT c.table_name AS t, string_agg(quote_ident(c.column_name) || '::text', ', ') AS columns"
        " FROM information_schema.columns c JOIN information_schema.tables t"
        "  ON t.table_schema = c.table_schema AND t.table_name = c.table_name"
        " WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'"
        "  AND c.data_type IN ('text', 'jsonb') GROUP BY 1"
    )
    read = 0
    for table in tables:
        rows = await door.sql(f'SELECT {table["columns"]} FROM "{table["t"]}" LIMIT 5000')
        for row in rows:
            read += 1
            for value in row.values():
                assert value is None or numbers_in(value) == [], (table["t"], value)
    assert read > 20
