"""Metadata values for the Dagster UI: tables, counts, lists and plots."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from podpower.evaluation.plots import to_png

if TYPE_CHECKING:  # slow to import; most runs draw nothing
    from matplotlib.figure import Figure


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
    examples = examples or {}
    rows = [
        dg.TableRecord({of: name, "count": number, "examples": ", ".join(examples.get(name, ()))})
        for name, number in sorted(values.items(), key=lambda item: -item[1])
    ]
    columns = [dg.TableColumn(of, "string"), dg.TableColumn("count", "int"), dg.TableColumn("examples", "string")]
    return dg.MetadataValue.table(rows, schema=dg.TableSchema(columns=columns))


def records(rows: Sequence[Mapping[str, str | float | int | None]]) -> dg.MetadataValue:
    """Return a table of rows with the same keys; unknown values are empty."""
    columns = [dg.TableColumn(name, "string") for name in (rows[0] if rows else ())]
    shown = [dg.TableRecord({k: "" if v is None else str(v) for k, v in row.items()}) for row in rows]
    return dg.MetadataValue.table(shown, schema=dg.TableSchema(columns=columns))


def bullets(lines: Sequence[str]) -> dg.MetadataValue:
    """Return a list of sentences."""
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in lines) or "none")


def plot(figure: "Figure") -> dg.MetadataValue:
    """Return a picture that the page contains."""
    encoded = base64.b64encode(to_png(figure)).decode()
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{encoded})")
