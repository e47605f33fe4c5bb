"""Redaction of stored specs again: texts in which older rules missed a credential are replaced in their tables.

Hashes and their versions stay: rows and models hold the same ones, and `podpower.datasets.renewal` replaces those by
what a spec's text gives under the rules of this version, which is the same before and after.
"""

from dataclasses import dataclass

from upath import UPath

from podpower.datasets.hash_versions import VERSION_COLUMN
from podpower.datasets.renewal import is_older, with_version
from podpower.errors import PodpowerError
from podpower.io.parquet import TableFile, write_parquet
from podpower.io.places import AnyPath, place
from podpower.io.set_aside import FOLDER as SET_ASIDE
from podpower.retention.ages import files_of
from podpower.retention.tables import stamp
from podpower.specs.table import REQUEST, redacted

_COMMAND = "dagster asset materialize"


@dataclass(frozen=True, kw_only=True)
class Redacted:
    """Counts of the tables that were written again and of their specs that held a credential, and why others stayed."""

    tables: int = 0
    specs: int = 0
    problems: tuple[str, ...] = ()


def redact_tables(root: AnyPath, *, asset: str) -> Redacted:
    """Redact the specs of older versions in the tables of `asset` below `root` (all clusters).

    A table that is damaged or was written meanwhile stays as it is; the next call tries again.
    """
    tables, specs, problems = 0, 0, list[str]()
    for path, _ in files_of(place(root)):
        if path.suffix != ".parquet" or path.parent.name != asset or SET_ASIDE in path.parts:
            continue
        try:
            found = _redact(path)
        except PodpowerError as error:
            problems.append(str(error))
            continue
        tables, specs = tables + int(found > 0), specs + found
    return Redacted(tables=tables, specs=specs, problems=tuple(problems))


def _redact(path: UPath) -> int:
    """Write the table with redacted specs where that changes any; return how many."""
    before, file = stamp(path), TableFile(path=path, command=_COMMAND)
    query = file.scan()
    with file.readable():
        if REQUEST not in query.collect_schema().names():
            return 0
        if not with_version(query).select(VERSION_COLUMN).select(is_older().any()).collect().item():
            return 0
    table = file.read()
    now = redacted(table)
    count = int((now[REQUEST] != table[REQUEST]).sum())
    if count and stamp(path) == before:
        write_parquet(now, path)
        return count
    return 0
