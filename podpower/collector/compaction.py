"""Compaction of an hour that has ended: its flushes become one object, and the next hour gets its snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from podpower.collector.alive import Entry, snapshot_lines
from podpower.hours import HOUR_S, hour_start_s
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import (
    Gap,
    Header,
    decode_part,
    encode_part,
    events_name,
    flush_name,
    snapshot_name,
)

_BATCH = 256  # flushes that are read at once
_MAX_DAMAGED = 100  # names in a header


@dataclass(frozen=True, kw_only=True)
class Ended:
    """An hour that ended with the flush `last_sequence`, and the objects alive when the hour `begins` begins. `gaps`
    are all of the journal, `hour_gaps` those of the hour; `last` is the header of the last flush.
    """

    hour: str
    begins: str
    first_sequence: int
    last_sequence: int
    alive: Sequence[Entry]
    gaps: Sequence[Gap]
    hour_gaps: Sequence[Gap]
    last: Header | None

    @property
    def damage(self) -> Gap:
        """The gap that damaged flushes of the hour leave."""
        start_s, end_s = hour_start_s(self.hour), hour_start_s(self.begins)
        return Gap(stream="", start_s=start_s, end_s=end_s, reason="stored changes of the hour were damaged")

    def header(self, kind: Literal["events", "snapshot"], hour: str, gaps: Sequence[Gap]) -> Header:
        """Return the header of an object that is made of the hour."""
        last = self.last
        return Header(
            kind=kind, hour=hour, sequence=self.last_sequence, reached_s=last.reached_s if last else 0.0,
            cluster_uid=last.cluster_uid if last else "", versions=last.versions if last else {}, gaps=list(gaps),
        )  # fmt: skip


def compact(files: JournalFiles, ended: Ended) -> list[str]:
    """Create the events of the hour and the snapshot of the next one, and remove flushes of the hours before; return
    what was damaged. Each step can be repeated: a kill between two of them loses nothing.

    The flushes of the hour itself stay until the next one is compacted, for readers that read them now, and for
    writers that were paused: they find their sequence taken.
    """
    damaged: list[str] = []
    lines: list[bytes] = []
    parts: list[tuple[int, int]] = []
    sequences = range(ended.first_sequence, ended.last_sequence + 1)
    for first in range(0, len(sequences), _BATCH):
        batch = sequences[first : first + _BATCH]
        for number, data in zip(batch, files.read_many([flush_name(n) for n in batch]), strict=True):
            name = f"{files}/{flush_name(number)}"
            if data is None:
                damaged.append(f"{name} is missing")
                continue
            kept = list(decode_part(name, data, damaged=damaged).lines())
            lines += kept
            parts += [(number, len(kept))] if kept else []
    header = ended.header("events", ended.hour, ended.hour_gaps)
    header = msgspec.structs.replace(header, parts=parts, damaged=damaged[:_MAX_DAMAGED])
    files.create(events_name(ended.hour), encode_part(header, lines))
    gaps = [*ended.gaps, ended.damage] if damaged else ended.gaps
    snapshot = encode_part(ended.header("snapshot", ended.begins, gaps), snapshot_lines(ended.alive))
    files.create(snapshot_name(ended.begins), snapshot)
    files.remove_flushes([number for number in files.flushes() if number < ended.first_sequence])
    return damaged


def prune(files: JournalFiles, *, before_s: float) -> int:
    """Remove the hours that ended before `before_s` (Unix seconds), except the newest; return how many."""
    old = [hour for hour in files.hours()[:-1] if hour_start_s(hour) + HOUR_S <= before_s]
    for hour in old:
        files.remove_hour(hour)
    return len(old)
