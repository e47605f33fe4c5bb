"""Writer of a recording: events are appended, samples come in parts, and a reader never sees half a part."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from podpower.hours import hour_name
from podpower.io.files import atomic_file, write_atomically
from podpower.io.parquet import write_parquet
from podpower.io.places import local_folder
from podpower.kubernetes.types import EventType
from podpower.sources.protocols import POINTS_SCHEMA, SERIES_SCHEMA, ObjectEvent
from podpower.sources.recording import META, META_FORMAT, OBJECTS, SAMPLES, SERIES, SNAPSHOTS, TRUTH, Meta
from podpower.sources.replay import EventLine


class RecordingWriter:
    """Writes a recording below `root`, which the first write makes."""

    def __init__(self, root: Path | str) -> None:
        self.root = local_folder(root, what="a recording")

    def meta(self, meta: Meta) -> None:
        """Write recording.json."""
        write_atomically(self.root / META, META_FORMAT.encode(meta))

    def snapshot(self, hour_start_s: float, alive: Iterable[ObjectEvent]) -> None:
        """Write the objects alive when the hour begins, each with the time of its present form."""
        self.snapshot_lines(hour_name(hour_start_s), (event_line(e.ts, e.type, e.object) for e in alive))

    def snapshot_lines(self, hour: str, lines: Iterable[bytes]) -> None:
        """Write a snapshot of `event_line`s."""
        with atomic_file(self.root / SNAPSHOTS / f"{hour}.ndjson") as aside, aside.open("wb") as stream:
            stream.writelines(lines)

    def events(self, events: Iterable[ObjectEvent]) -> None:
        """Append events, in order of time, each to its hour."""
        by_hour: dict[str, list[bytes]] = {}
        for event in events:
            by_hour.setdefault(hour_name(event.ts), []).append(event_line(event.ts, event.type, event.object))
        for hour, lines in sorted(by_hour.items()):
            self.event_lines(hour, lines)

    def event_lines(self, hour: str, lines: Iterable[bytes]) -> None:
        """Append `event_line`s to an hour; they are on disk when this returns."""
        path = self.root / OBJECTS / f"{hour}.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())

    def samples(self, hour_start_s: float, part: str, *, series: pl.DataFrame, points: pl.DataFrame) -> None:
        """Write one part of an hour's samples, the series before the points, so that every point has its series."""
        hour = hour_name(hour_start_s)
        for folder, table, schema in ((SERIES, series, SERIES_SCHEMA), (SAMPLES, points, POINTS_SCHEMA)):
            write_parquet(table.select(schema.names()), self.root / folder / hour / f"{part}.parquet")

    def only_part(self, hour_start_s: float, part: str) -> None:
        """Remove the other parts of an hour's samples and truth, which `part` replaces."""
        for folder in (SERIES, SAMPLES, TRUTH):
            for path in (self.root / folder / hour_name(hour_start_s)).glob("*.parquet"):
                if path.stem != part:
                    path.unlink()

    def truth(self, hour_start_s: float, part: str, table: pl.DataFrame) -> None:
        """Write the true joules of each pod and minute of a simulation."""
        write_parquet(table, self.root / TRUTH / hour_name(hour_start_s) / f"{part}.parquet")


def event_line(ts: float, type_: EventType, obj: Mapping[str, Any]) -> bytes:
    """Return one line of objects/ or snapshots/."""
    return msgspec.json.encode(EventLine(ts=ts, type=type_, object=dict(obj))) + b"\n"
