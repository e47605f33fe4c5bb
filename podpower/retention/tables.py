"""Purge of tables: the rows of a namespace, in every partition of every asset."""

from collections.abc import Iterator

import polars as pl
from upath import UPath

from podpower.errors import PodpowerError, Unavailable
from podpower.io.parquet import TableFile, write_parquet
from podpower.io.places import AnyPath, place, reaching
from podpower.io.set_aside import FOLDER as SET_ASIDE
from podpower.retention.ages import files_of
from podpower.retention.scope import Purged, Scope


def purge_tables(root: AnyPath, scope: Scope, *, dry_run: bool, problems: list[str]) -> Iterator[Purged]:
    """Remove the rows of the namespace from the tables below `root`, and yield the partitions that had any.

    Damaged tables that were set aside are removed: whose rows they have cannot be read. Others that are damaged, and
    those that were written meanwhile, stay as they are and are added to `problems`.
    """
    folder = place(root)
    for path, _ in files_of(folder):
        if path.parent.name == SET_ASIDE:
            if not dry_run:
                with reaching(path):
                    path.unlink(missing_ok=True)
            yield Purged(store="tables", place=str(path.relative_to(folder)), count=1, unit="files")
        elif path.suffix == ".parquet":
            try:
                count = _purge(path, scope, dry_run=dry_run)
            except PodpowerError as error:
                problems.append(str(error))
                continue
            if count:
                yield Purged(store="tables", place=str(path.relative_to(folder)), count=count, unit="rows")


def _purge(path: UPath, scope: Scope, *, dry_run: bool) -> int:
    """Write the table without the rows of the namespace; return how many these are."""
    before = stamp(path)
    table = TableFile(path=path, command="dagster asset materialize").read()
    if "namespace" not in table.columns:
        return 0
    own = _rows_of(scope, table)
    count = int(table.select(own.sum()).item())
    if count and not dry_run:
        if stamp(path) != before:
            raise Unavailable(f"{path} was written meanwhile: run the purge again")
        write_parquet(table.filter(~own), path)
    return count


def _rows_of(scope: Scope, table: pl.DataFrame) -> pl.Expr:
    own = pl.col("namespace").eq_missing(pl.lit(scope.namespace))
    if scope.cluster is None or "cluster" not in table.columns:
        return own
    return own & pl.col("cluster").fill_null("").is_in(["", scope.cluster])


def stamp(path: UPath) -> tuple[int, float]:
    """Return size and time of a file, which differ once it was written again."""
    with reaching(path):
        found = path.stat()
    return found.st_size, found.st_mtime
