"""Older spec hashes in tables: which they are, and their replacement by hashes of stored specs."""

from typing import TypeVar

import polars as pl

from podpower.datasets.hash_versions import FIRST_VERSION, HASH_VERSION, VERSION_COLUMN

_HASH, _NEW_HASH, _NEW_VERSION = "_spec_hash", "_new_hash", "_new_version"
# What replaces an older hash: the specs' own, as stored, and the one of this version.
RENEWALS_SCHEMA = pl.Schema({_HASH: pl.String(), _NEW_HASH: pl.String(), _NEW_VERSION: pl.Int64()})

F = TypeVar("F", pl.DataFrame, pl.LazyFrame)


def is_older() -> pl.Expr:
    """Return the expression: the version of a row's spec hash is older than HASH_VERSION, or missing."""
    return pl.col(VERSION_COLUMN).fill_null(FIRST_VERSION) < HASH_VERSION


def with_version(table: F) -> F:
    """Return `table` with VERSION_COLUMN, null where it had none."""
    if VERSION_COLUMN in table.collect_schema().names():
        return table
    return table.with_columns(pl.lit(None, pl.Int64).alias(VERSION_COLUMN))


def renewals_of(stored: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Return RENEWALS_SCHEMA of specs as stored and, row by row, as hashed `now`."""
    table = pl.DataFrame([stored[_HASH], now[_HASH].alias(_NEW_HASH), now[VERSION_COLUMN].alias(_NEW_VERSION)])
    return table.cast(RENEWALS_SCHEMA).unique(_HASH, keep="last", maintain_order=True)


def renewed(table: pl.DataFrame, renewals: pl.DataFrame) -> pl.DataFrame:
    """Return `table` with its older hashes replaced by those of this version, as far as `renewals` has them."""
    table = with_version(table)
    if renewals.is_empty():
        return table
    found = table.join(renewals, on=_HASH, how="left", maintain_order="left")
    replaced = is_older() & pl.col(_NEW_HASH).is_not_null()
    return found.with_columns(
        pl.when(replaced).then(_NEW_HASH).otherwise(_HASH).alias(_HASH),
        pl.when(replaced).then(_NEW_VERSION).otherwise(VERSION_COLUMN).alias(VERSION_COLUMN),
    ).drop(_NEW_HASH, _NEW_VERSION)


def not_renewed(rows: pl.LazyFrame, renewals: pl.DataFrame) -> int:
    """Return the number of rows whose hash is older and cannot be replaced by one of this version."""
    current = renewals.filter(pl.col(_NEW_VERSION) == HASH_VERSION).lazy()
    older = with_version(rows).filter(is_older() & pl.col(_HASH).is_not_null())
    return int(older.join(current, on=_HASH, how="anti").select(pl.len()).collect().item())
