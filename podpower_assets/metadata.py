"""Metadata values for the Dagster UI: tables, counts, and lists."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

MOST_COLUMNS = 4
_MOST_LISTED = 12


def schema_of(table: pl.DataFrame) -> dg.TableSchema:
    """Return the columns and types of a table."""
    return dg.TableSchema(columns=[dg.TableColumn(name, str(dtype)) for name, dtype in table.schema.items()])


def table_metadata(table: pl.DataFrame) -> dict[str, Any]:
    """Return the row count and the schema of a table, under Dagster's names."""
    return {"dagster/row_count": len(table), "dagster/column_schema": schema_of(table)}


def counts(
    values: Mapping[str, int], *, of: str, examples: Mapping[str, Sequence[str]] | None = None
) -> dg.MetadataValue:
    """Return a table of counts by `of`, largest first."""
    shown = {} if examples is None else {name: ", ".join(examples.get(name, ())) for name in values}
    rows = [
        dg.TableRecord({of: name, "count": number, **({"examples": shown[name]} if shown else {})})
        for name, number in sorted(values.items(), key=lambda item: -item[1])
    ]
    columns = [dg.TableColumn(of, "string"), dg.TableColumn("count", "int")]
    columns += [dg.TableColumn("examples", "string")] if shown else []
    return dg.MetadataValue.table(rows, schema=dg.TableSchema(columns=columns))


def listed(values: Mapping[str, int]) -> str:
    """Return counts as text, largest first.

    >>> listed({"Job": 1, "Deployment": 12})
    'Deployment 12, Job 1'
    """
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    rest = f" and {len(ordered) - _MOST_LISTED} more" if len(ordered) > _MOST_LISTED else ""
    return (", ".join(f"{name} {count}" for name, count in ordered[:_MOST_LISTED]) + rest) or "none"


def records(rows: Sequence[Mapping[str, str | float | int | None]]) -> dg.MetadataValue:
    """Return a table of rows with the same keys; unknown values are empty. The UI cuts wide tables: of more columns
    than it has room for, the last column has all that follow.
    """
    shown = [_narrow({k: "" if v is None else str(v) for k, v in row.items()}) for row in rows]
    columns = [dg.TableColumn(name, "string") for name in (shown[0] if shown else ())]
    return dg.MetadataValue.table(list(map(dg.TableRecord, shown)), schema=dg.TableSchema(columns=columns))


def _narrow(row: dict[str, str]) -> dict[str, str]:
    if len(row) <= MOST_COLUMNS:
        return row
    cells = list(row.items())
    rest = ", ".join(f"{name} {value}" for name, value in cells[MOST_COLUMNS - 1 :] if value)
    return dict(cells[: MOST_COLUMNS - 1]) | {"more": rest}


def bullets(lines: Sequence[str]) -> dg.MetadataValue:
    """Return a list of sentences."""
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in lines) or "none")
