"""A recording: a folder with the objects and samples of a cluster over time, read as a source of both.

The format is in docs/reference/recording.md. Reading a window touches only the files of its hours: each hour of objects
begins with a snapshot of those alive, and each hour of samples has a folder.
"""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from podpower.errors import InvalidInput, OtherSource, Refused, Unavailable
from podpower.hours import hour_name, hours_between
from podpower.io.parquet import TableFile, scanned
from podpower.io.places import local_folder
from podpower.io.sealed_json import Format
from podpower.sources.journal.format import META as JOURNAL_META
from podpower.sources.journal.reader import JournalReader
from podpower.sources.protocols import (
    POINTS_SCHEMA,
    SERIES_SCHEMA,
    MetricSamples,
    ObjectEvent,
    Selector,
    SeriesFound,
    selected,
)
from podpower.sources.replay import MAX_CHANGES, Alive, EventLine, apply, replayed

META: Final = "recording.json"
OBJECTS, SNAPSHOTS, SAMPLES, SERIES, TRUTH = "objects", "snapshots", "samples", "series", "truth"
JOURNAL: Final = "journal"  # of a live cluster, in place of objects and snapshots


class Meta(msgspec.Struct, kw_only=True, frozen=True):
    """Content of recording.json. `start_s` and `end_s` (Unix seconds) bound what was written so far."""

    recording_id: str
    cluster: str
    kepler: str
    scrape_interval_s: float
    start_s: float
    end_s: float
    seed: int | None = None
    workloads: int | None = None


META_FORMAT: Final = Format(name="recording", type=Meta)


class _Cursor(msgspec.Struct, kw_only=True, frozen=True):
    recording_id: str
    hour: str
    offset: int


class Recording:
    """The recording in the folder `root`, an ObjectSource and a MetricSource.

    InvalidInput when the folder is no recording; Unavailable when there is no such folder yet.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = local_folder(root, what="a recording")
        self.meta = read_meta(self.root)
        self.cluster = self.meta.cluster
        self.damaged: list[str] = []  # lines that were skipped so far
        self._journal: JournalReader | None = None  # of a live cluster's objects
        if (self.root / JOURNAL / JOURNAL_META).exists():
            self._journal = JournalReader(self.root / JOURNAL)
            self._journal.damaged = self.damaged

    @property
    def start_s(self) -> float:
        """Unix seconds at which the recording begins."""
        return self.meta.start_s

    @property
    def end_s(self) -> float:
        """Unix seconds up to which the recording was written when it was opened."""
        return self.meta.end_s

    def events(self, *, start_s: float, end_s: float) -> Iterator[ObjectEvent]:
        """Yield the objects alive at `start_s` as ADDED with the time of their present form, then each change before
        `end_s`.
        """
        if self._journal is not None:
            yield from self._journal.events(start_s=start_s, end_s=end_s)
            return
        begin_s = max(start_s, self.start_s)
        alive, hours = self._alive_at(hour_name(begin_s)), hours_between(begin_s, end_s)
        yield from replayed(alive, hours, lambda hour: self.lines(OBJECTS, hour), start_s=start_s, end_s=end_s)

    def changes(self, cursor: str | None) -> tuple[list[ObjectEvent], str]:
        """Return the events after `cursor` (None: from the beginning), at most MAX_CHANGES, and the cursor behind them.

        Each event comes once; only damaged lines are left out, and added to `damaged`. InvalidInput for the cursor of
        another recording.
        """
        if self._journal is not None:
            return self._journal.changes(cursor)
        position = self._position(cursor)
        found: list[ObjectEvent] = []
        if cursor is None:  # the objects of a live cluster when it was first seen
            began = self.lines(SNAPSHOTS, hour_name(self.start_s))
            found += (line.event(at_least_s=self.start_s) for line in began)
        hours = sorted(path.stem for path in (self.root / OBJECTS).glob("*.ndjson"))
        for hour in (h for h in hours if h >= position.hour):
            offset = position.offset if hour == position.hour else 0
            for line, end in self._lines_from(hour, offset):
                found.append(line.event())
                position = _Cursor(recording_id=self.meta.recording_id, hour=hour, offset=end)
                if len(found) >= MAX_CHANGES:
                    return found, _encoded(position)
        return found, _encoded(position)

    def metric_names(self, *, start_s: float, end_s: float) -> frozenset[str]:
        """Return the names of metrics with samples in the hours of the window."""
        names: set[str] = set()
        for hour in hours_between(start_s, end_s):
            for file in self._parts(SERIES, [hour]):
                with file.readable():
                    names.update(file.scan().select("metric").unique().collect()["metric"].to_list())
        return frozenset(names)

    def samples(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> MetricSamples:
        """Return the raw samples with start_s <= ts <= end_s."""
        hours = hours_between(start_s, end_s + 1e-3)
        series_parts, point_parts = self._parts(SERIES, hours), self._parts(SAMPLES, hours)
        if not series_parts or not point_parts:
            return MetricSamples(series=pl.DataFrame(schema=SERIES_SCHEMA), points=pl.DataFrame(schema=POINTS_SCHEMA))
        with scanned(series_parts) as series:
            chosen = pl.concat(_series(part).filter(selected(selectors)) for part in series)
            named = chosen.unique("series_id").sort("series_id").collect()
        with scanned(point_parts) as points:
            within = pl.concat(part.filter(pl.col("ts").is_between(start_s, end_s)) for part in points)
            wanted = within.join(named.lazy().select("series_id"), on="series_id", how="semi").collect()
        return MetricSamples(series=named, points=wanted.select(POINTS_SCHEMA.names()))

    def series(self, selectors: Sequence[Selector], *, start_s: float, end_s: float) -> SeriesFound:
        """Return the series with a sample in [start_s, end_s]."""
        found = self.samples(selectors, start_s=start_s, end_s=end_s)
        return SeriesFound(table=found.series.join(found.points, on="series_id", how="semi"))

    def truth(self) -> pl.DataFrame:
        """Return the true joules of each pod and minute; InvalidInput when the recording is not a simulation."""
        hours = sorted(path.name for path in (self.root / TRUTH).glob("*"))
        if not (parts := self._parts(TRUTH, hours)):
            raise InvalidInput(f"{self.root} has no truth: it was recorded from a real cluster")
        return pl.concat(part.read() for part in parts)

    def _parts(self, folder: str, hours: Sequence[str]) -> list[TableFile]:
        """Return the files of a folder's hours, oldest first, with the command that makes an hour of them again."""
        root = shlex.quote(str(self.root))
        write = "podpower record --prom URL" if self.meta.seed is None else "podpower simulate"
        return [
            TableFile(path=path, partition=hour, command=f"{write} --out {root} --again {hour}")
            for hour in hours
            for path in sorted((self.root / folder / hour).glob("*.parquet"))
        ]

    def _position(self, cursor: str | None) -> _Cursor:
        if cursor is None:
            return _Cursor(recording_id=self.meta.recording_id, hour="", offset=0)
        try:
            position = msgspec.json.decode(cursor, type=_Cursor)
        except ValueError:
            raise OtherSource(f"not a cursor of a recording: {cursor[:80]}") from None
        if position.recording_id != self.meta.recording_id:
            raise OtherSource(f"the cursor belongs to another recording than {self.root}")
        return position

    def _alive_at(self, hour: str) -> Alive:
        """Return the objects at the beginning of the hour: the last snapshot up to it, and the changes after that."""
        snapshots = sorted(path.stem for path in (self.root / SNAPSHOTS).glob("*.ndjson") if path.stem <= hour)
        base = snapshots[-1] if snapshots else ""
        alive = {line.uid: line for line in self.lines(SNAPSHOTS, base)}
        for earlier in sorted(path.stem for path in (self.root / OBJECTS).glob("*.ndjson") if base <= path.stem < hour):
            apply(alive, self.lines(OBJECTS, earlier))
        return alive

    def lines(self, kind: str, hour: str) -> Iterator[EventLine]:
        """Yield the lines of an hour, of its objects or its snapshot."""
        path = self.root / kind / f"{hour}.ndjson"
        if path.exists():
            yield from (line for line, _ in _read_lines(path, 0, damaged=self.damaged))

    def _lines_from(self, hour: str, offset: int) -> Iterator[tuple[EventLine, int]]:
        yield from _read_lines(self.root / OBJECTS / f"{hour}.ndjson", offset, damaged=self.damaged)


def read_meta(root: Path) -> Meta:
    """Return recording.json of the folder. InvalidInput or Unavailable as `Recording`."""
    path = root / META
    try:
        return META_FORMAT.decode(path.read_bytes(), what=str(path)).value
    except FileNotFoundError:
        if root.exists():
            raise InvalidInput(
                f"{root} is no recording: it has no {META}; make one with `podpower record` or `podpower simulate`"
            ) from None
        raise Unavailable(
            f"no recording at {root} yet; make one with `podpower record --out {root}`, or a simulated one with "
            f"`podpower simulate --out {root}`"
        ) from None
    except (Refused, OSError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None


_LINE = msgspec.json.Decoder(EventLine)


def _read_lines(path: Path, offset: int, *, damaged: list[str]) -> Iterator[tuple[EventLine, int]]:
    """Yield whole lines from `offset` on, each with the offset behind it. A last line without its end is not complete
    yet. A line that cannot be read is skipped and added to `damaged`.
    """
    with path.open("rb") as stream:
        stream.seek(offset)
        for line in stream:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                yield _LINE.decode(line), offset
            except ValueError as error:
                damaged.append(f"{path}: the line that ends at byte {offset} is damaged: {error}")


def _series(table: pl.LazyFrame) -> pl.LazyFrame:
    """Return the series of a part in SERIES_SCHEMA; a label that was not kept when the part was written is null."""
    present = table.collect_schema()
    return table.select(name if name in present else pl.lit(None, t).alias(name) for name, t in SERIES_SCHEMA.items())


def _encoded(position: _Cursor) -> str:
    return msgspec.json.encode(position).decode()
