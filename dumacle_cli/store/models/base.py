"""What all tables share: schema, constraint names, column kinds."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Identity, LargeBinary, MetaData, Text, func
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, mapped_column

SCHEMA = "app"
NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
}

Id = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
Sorted = Annotated[str, mapped_column(Text(collation="C"))]
Created = Annotated[datetime, mapped_column(server_default=func.now())]
Updated = Annotated[datetime, mapped_column(server_default=func.now(), onupdate=func.now())]


class Base(DeclarativeBase):
    """The parent of all tables; times are UTC, sizes and limits are bytes or seconds, money is minor units."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger,
        str: Text,
        bytes: LargeBinary,
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
    }


# Deferred, because the schema of the previous release lacks them.
AllowedTypes = Annotated[list[str] | None, mapped_column(ARRAY(Text), deferred=True)]
MaxFileSize = Annotated[int | None, mapped_column(BigInteger, deferred=True)]


def file_limits() -> tuple[CheckConstraint, CheckConstraint]:
    """Return the CHECKs on which files are accepted: some media types of limited length, and a size in bytes."""
    return (
        CheckConstraint(
            "cardinality(allowed_types) > 0 AND octet_length(allowed_types::text) <= 4096", name="allowed_types"
        ),
        CheckConstraint("max_file_size >= 0", name="max_file_size"),
    )


# Times that every client can read, and add days to.
EARLIEST, LATEST = "1970-01-01 00:00:00+00", "2999-12-31 23:59:59+00"
KIB, MIB = 1024, 1024**2
ERROR_BYTES = 8 * KIB
"""The longest text of an error, in bytes."""


def times(*columns: str) -> CheckConstraint:
    """Return a CHECK that every client can read these times: neither infinity nor the year 10000."""
    between = (f"{column} BETWEEN '{EARLIEST}' AND '{LATEST}'" for column in columns)
    return CheckConstraint(" AND ".join(between), name="times")


def texts(**longest: int) -> CheckConstraint:
    """Return a CHECK on the length of texts and byte strings, in bytes."""
    within = (f"octet_length({column}) <= {size}" for column, size in longest.items())
    return CheckConstraint(" AND ".join(within), name="texts")


def documents(**longest: int) -> CheckConstraint:
    """Return a CHECK on the length of JSON documents as text, in bytes."""
    within = (f"octet_length({column}::text) <= {size}" for column, size in longest.items())
    return CheckConstraint(" AND ".join(within), name="documents")


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """Return a CHECK that the column has one of the values."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)
