"""Column shapes that every slice's rows share, so that a table reads as its facts.

SQLModel's defaults bite (int is 32 bits, nothing is validated): rows declare their columns here.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, SmallInteger, Text
from sqlalchemy.dialects import postgresql
from sqlmodel import Field


def key(**options: Any) -> Any:
    return Field(sa_column=Column(postgresql.UUID(as_uuid=True), primary_key=True, **options))


def uuid(*, null: bool = False, **options: Any) -> Any:
    return Field(sa_column=Column(postgresql.UUID(as_uuid=True), nullable=null, **options))


def big(*, null: bool = False, primary: bool = False, **options: Any) -> Any:
    return Field(
        sa_column=Column(
            BigInteger, nullable=null, primary_key=primary, autoincrement=False, **options
        )
    )


def small(*, null: bool = False, **options: Any) -> Any:
    return Field(sa_column=Column(SmallInteger, nullable=null, **options))


def string(*, null: bool = False, primary: bool = False, **options: Any) -> Any:
    return Field(sa_column=Column(Text, nullable=null, primary_key=primary, **options))


def flag(**options: Any) -> Any:
    return Field(sa_column=Column(Boolean, nullable=False, **options))


def blob(*, null: bool = False, primary: bool = False, **options: Any) -> Any:
    return Field(sa_column=Column(LargeBinary, nullable=null, primary_key=primary, **options))


def json(*, null: bool = False, **options: Any) -> Any:
    return Field(sa_column=Column(postgresql.JSONB, nullable=null, **options))
