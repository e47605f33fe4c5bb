"""Removal by age: partitions of tables and pages of evaluations whose hour or day is older than so many days, and
damaged files that were set aside as long ago.

The newest days that have files stay, as many as are kept: a clock that jumps ahead removes nothing that is in use.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, inf
from pathlib import Path
from typing import Final

from upath import UPath

from podpower.hours import DAY_S, HOUR_S
from podpower.io.leftovers import remove_leftovers
from podpower.io.places import AnyPath, is_local, place, reaching
from podpower.io.set_aside import FOLDER

_PARTITION: Final = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})(?:-(?P<time>\d{4}))?(?:\.[0-9a-f]{8})?\.(?:parquet|verdict\.json)"
)
_PAGE: Final = re.compile(r"(?P<day>\d{4}-\d{2}-\d{2})(?P<time>)\.html")


@dataclass(frozen=True, kw_only=True)
class Removed:
    """Count of the removed files, and their bytes."""

    files: int = 0
    size_bytes: int = 0


def prune_tables(root: AnyPath, *, keep_days: float, now_s: float) -> Removed:
    """Remove the partitions of all assets and clusters below `root` that ended more than `keep_days` before `now_s`
    (Unix seconds), with their verdicts, damaged files that were set aside before, and what killed writers left.
    """
    folder, before_s = place(root), now_s - keep_days * DAY_S
    if is_local(folder):
        remove_leftovers(Path(str(folder)))
    old = _ended_before(folder, _PARTITION, before_s, keep_days=keep_days)
    return _removed(old | _set_aside_before(folder, before_s))


def prune_reports(root: AnyPath, *, keep_days: float, now_s: float) -> Removed:
    """Remove the pages of evaluations below `root` whose day ended more than `keep_days` before `now_s`."""
    return _removed(_ended_before(place(root), _PAGE, now_s - keep_days * DAY_S, keep_days=keep_days))


def files_of(root: UPath) -> Iterator[tuple[UPath, int]]:
    """Yield each file below `root` and its size in bytes; nothing without a folder."""
    with reaching(root):
        found = root.fs.find(root.path, detail=True) if root.exists() else {}
        begin = len(root.fs._strip_protocol(str(root)).rstrip("/")) + 1
    yield from ((root / path[begin:], int(info["size"])) for path, info in sorted(found.items()))


def _ended_before(root: UPath, names: re.Pattern[str], before_s: float, *, keep_days: float) -> dict[UPath, int]:
    """Return the files whose partition ended before a time, except those of the newest `keep_days` that have any."""
    found = [(path, size, ended_s) for path, size in files_of(root) if (ended_s := _ended_s(path.name, names)) < inf]
    days = sorted({_day(ended_s) for _, _, ended_s in found}, reverse=True)
    newest = set(days[: ceil(keep_days)])
    return {path: size for path, size, ended_s in found if ended_s <= before_s and _day(ended_s) not in newest}


def _day(ended_s: float) -> int:
    """Return the number of the day that ends with, or contains the end of, a partition."""
    return ceil(ended_s / DAY_S)


def _set_aside_before(root: UPath, before_s: float) -> dict[UPath, int]:
    """Return the damaged files of no partition, as of the encoder, that were moved before a time."""
    aside = [
        (path, size)
        for path, size in files_of(root)
        if path.parent.name == FOLDER and _ended_s(path.name, _PARTITION) == inf
    ]
    found = {}
    for path, size in aside:
        with reaching(path):
            if path.stat().st_mtime <= before_s:
                found[path] = size
    return found


def _removed(old: dict[UPath, int]) -> Removed:
    for path in old:
        with reaching(path):
            path.unlink(missing_ok=True)
    return Removed(files=len(old), size_bytes=sum(old.values()))


def _ended_s(name: str, names: re.Pattern[str]) -> float:
    """Return when the partition of a file ended (Unix seconds); infinity for a file that is none."""
    found = names.fullmatch(name)
    with contextlib.suppress(ValueError):
        if found:
            begins = datetime.strptime(f"{found['day']} {found['time'] or '0000'}", "%Y-%m-%d %H%M").replace(tzinfo=UTC)
            return begins.timestamp() + (HOUR_S if found["time"] else DAY_S)
    return inf
