"""The loop of every partitioned asset: make each partition of the run, write its table, and record its metadata."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import dagster as dg
import polars as pl

from podpower_assets.metadata import table_metadata
from podpower_assets.resources import Tables

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Partition(Generic[Found]):
    """One partition: its table, whole or in parts (None: the asset has none), its metadata, and `found`, the values
    that checks read.
    """

    found: Found
    table: pl.DataFrame | Iterable[pl.DataFrame] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def per_partition(
    context: dg.AssetExecutionContext, tables: Tables, make: Callable[[str], Partition[Found]]
) -> list[Found]:
    """Make each partition of the run by its key, oldest first, and return what was found in each.

    A partition is written before the next one is made: a run that is killed keeps what it wrote.
    """
    found = []
    for key in context.partition_keys:
        partition = make(key)
        metadata = dict(partition.metadata)
        if partition.table is not None:
            tables.write(context.asset_key.path[-1], key, partition.table)
        if isinstance(partition.table, pl.DataFrame):
            metadata = table_metadata(partition.table) | metadata
        context.add_asset_metadata(metadata, partition_key=key)
        found.append(partition.found)
    return found
