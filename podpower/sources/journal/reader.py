"""Reader of a journal: an ObjectSource whose cost depends on what changed. It writes nothing."""

import itertools
import time
from collections.abc import Iterable, Iterator
from functools import cached_property

import msgspec

from podpower.errors import InvalidInput, OtherSource, Unavailable
from podpower.hours import hour_name, hour_start_s, hours_between
from podpower.io.places import AnyPath
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import (
    Gap,
    Header,
    JournalMeta,
    Part,
    decode_part,
    events_name,
    flush_name,
    snapshot_name,
    unsealed,
)
from podpower.sources.protocols import ObjectEvent
from podpower.sources.replay import MAX_CHANGES, Alive, EventLine, apply, replayed

STALE_S = 120.0  # a journal whose writer has not reached further is stale
_BATCH = 256  # flushes that are read at once


class _Cursor(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Everything up to the flush `sequence`, of the hour `hour`, was read. Journals of earlier versions had the name
    `recording_id` and a byte of the hour.
    """

    journal_id: str = ""
    recording_id: str = ""
    hour: str
    sequence: int = 0


_Step = tuple[_Cursor, Iterable[EventLine]]


class JournalReader:
    """The journal at `url`. InvalidInput when it is something else; Unavailable when there is none yet."""

    def __init__(self, url: AnyPath) -> None:
        self.files = JournalFiles(url)
        self.meta = _require_meta(self.files)
        self.cluster = self.meta.cluster
        self.damaged: list[str] = []  # objects and lines that were skipped so far

    @cached_property
    def start_s(self) -> float:
        """Unix seconds at which the journal begins; hours before were removed, or came before the collector."""
        hours = self.files.hours()
        return max(self.meta.start_s, hour_start_s(hours[0])) if hours else self.meta.start_s

    def reached_s(self) -> float:
        """Return the time (Unix seconds) up to which the cluster was observed."""
        newest = self.newest()
        return self.meta.start_s if newest is None else newest.reached_s

    def stale(self, *, now_s: float | None = None) -> str | None:
        """Return a sentence where the journal is older than two minutes, or as much ahead; None where it is fresh."""
        newest, now_s = self.newest(), time.time() if now_s is None else now_s
        reached_s = self.meta.start_s if newest is None else newest.reached_s
        age_s, ahead_s = now_s - reached_s, 0.0 if newest is None else max(reached_s, hour_start_s(newest.hour)) - now_s
        if ahead_s > STALE_S:
            return (
                f"the journal {self.files} is {ahead_s / 60:.0f} minutes ahead of the clock, which jumped: what "
                "changes until then is recorded for a later hour"
            )
        if age_s <= STALE_S:
            return None
        return (
            f"the journal {self.files} is {age_s / 60:.0f} minutes old: look at the collector, "
            f"`podpower collect watch --journal {self.files}`"
        )

    def newest(self) -> Header | None:
        """Return the header of the newest flush that has an intact one; None where there is none."""
        for sequence in reversed(self.files.flushes()):
            part = self._read(flush_name(sequence))
            if part is not None and part.header is not None:
                return part.header
        return None

    def gaps(self, *, start_s: float, end_s: float) -> list[Gap]:
        """Return the times within [start_s, end_s) in which changes could not be seen."""
        newest = self.newest()
        before = next((h for h in map(self.snapshot_header, reversed(self.files.hours())) if h is not None), None)
        found = [gap for header in (before, newest) if header is not None for gap in header.gaps]
        return sorted(
            {gap for gap in found if gap.start_s < end_s and gap.end_s > start_s},
            key=lambda gap: (gap.start_s, gap.stream),
        )

    def events(self, *, start_s: float, end_s: float) -> Iterator[ObjectEvent]:
        """Yield the objects alive at `start_s` as ADDED with the time of their present form, then each change before
        `end_s`. For hours before the journal began: the objects that it found, each from the time at which it got its
        form.
        """
        begin_s = max(start_s, self.start_s)
        alive, hours = self._alive_at(hour_name(begin_s)), hours_between(begin_s, end_s)
        yield from replayed(alive, hours, self.hour_lines, start_s=start_s, end_s=end_s)

    def changes(self, cursor: str | None) -> tuple[list[ObjectEvent], str]:
        """Return the events after `cursor` (None: from the beginning), about MAX_CHANGES at most, and the cursor behind
        them. Each event comes once, whether its hour is compacted meanwhile or not; damaged lines are in `damaged`.
        """
        at = self._position(cursor)
        found: list[ObjectEvent] = []
        if cursor is None:  # the objects that were there when the cluster was first seen
            first = self._read(snapshot_name(at.hour))
            found += [line.event(at_least_s=self.start_s) for line in (first.events() if first else ())]
        while len(found) < MAX_CHANGES and (steps := self._after(at)):
            for position, lines in steps:
                found += [line.event() for line in lines]
                at = position
                if len(found) >= MAX_CHANGES:
                    break
        return found, msgspec.json.encode(at).decode()

    def hour_lines(self, hour: str) -> Iterator[EventLine]:
        """Yield the events of an hour, compacted or not."""
        compacted = self._read(events_name(hour))
        if compacted is not None:
            self._add_damage(compacted.header.damaged if compacted.header else [])
            yield from compacted.events()
            return
        begun = max((h for h in self.files.hours() if h <= hour), default=hour)
        since = self.snapshot_header(begun)
        for position, lines in self.flushes_after(since.sequence if since else 0, hour=begun):
            if position.hour == hour:
                yield from lines

    def flushes_after(self, sequence: int, *, hour: str) -> Iterator[_Step]:
        """Yield the flushes after one of `hour`, each with the position behind it."""
        for position, part in self.parts_after(sequence, hour=hour):
            yield position, part.events()

    def parts_after(self, sequence: int, *, hour: str) -> Iterator[tuple[_Cursor, Part]]:
        """Yield the flushes after one of `hour` as they are stored."""
        later = [number for number in self.files.flushes() if number > sequence]
        for first in range(0, len(later), _BATCH):
            batch = later[first : first + _BATCH]
            names = [flush_name(number) for number in batch]
            for number, name, data in zip(batch, names, self.files.read_many(names), strict=True):
                if data is None:
                    return  # compacted and removed meanwhile: the caller looks again
                if number > sequence + 1:
                    self._add_damage([f"{self.files}: flushes {sequence + 1} to {number - 1} are missing"])
                part = self._decoded(name, data)
                sequence, hour = number, part.header.hour if part.header else hour
                yield _Cursor(journal_id=self.meta.journal_id, hour=hour, sequence=number), part

    def snapshot(self, hour: str) -> Part | None:
        """Return the objects alive when an hour began; None where they are unknown or some of them damaged."""
        part = self._read(snapshot_name(hour))
        return part if part is not None and part.all_intact else None

    def snapshot_header(self, hour: str | None) -> Header | None:
        """Return the header of a snapshot; None where there is none, or a damaged one."""
        line = self.files.first_line(snapshot_name(hour)) if hour else None
        return unsealed(line, Header) if line is not None else None

    def compacted(self, hour: str) -> Part | None:
        """Return the compacted events of an hour, None where there are none yet."""
        return self._read(events_name(hour))

    def _after(self, at: _Cursor) -> Iterable[_Step]:
        """Return steps after a position; none where it is the newest."""
        present = self.files.flushes()
        later = next((number for number in present if number > at.sequence), None)
        if later != at.sequence + 1 and (step := self._compacted_after(at)) is not None:
            return [step]
        if later is None:
            return []
        steps = self.flushes_after(at.sequence, hour=at.hour)
        first = next(iter(steps), None)
        return itertools.chain([first], steps) if first is not None else []

    def _compacted_after(self, at: _Cursor) -> _Step | None:
        """Return the events after a position of the first compacted hour that has any."""
        hours = [hour for hour in self.files.hours() if hour >= at.hour]
        for hour, following in itertools.zip_longest(hours, hours[1:]):
            line = self.files.first_line(events_name(hour))
            if line is None:
                return None
            header = unsealed(line, Header) or self.snapshot_header(following)
            sequence = header.sequence if header else at.sequence
            if sequence <= at.sequence or (part := self._read(events_name(hour))) is None:
                continue
            earlier = sum(lines for number, lines in header.parts if number <= at.sequence) if header else 0
            self._add_damage(header.damaged if header else [])
            position = _Cursor(journal_id=self.meta.journal_id, hour=hour, sequence=sequence)
            return position, itertools.islice(part.events(), earlier, None)
        return None

    def _alive_at(self, hour: str) -> Alive:
        """Return the objects alive when an hour begins: the last intact snapshot up to it, and what followed."""
        hours = [h for h in self.files.hours() if h <= hour] or self.files.hours()[:1]
        for number, begun in enumerate(reversed(hours)):
            part = self.snapshot(begun)
            if part is None and number == len(hours) - 1:
                part = self._read(snapshot_name(begun))  # nothing earlier: the lines that are intact
            if part is None:
                continue
            alive: Alive = {}
            apply(alive, part.events())
            apply(alive, self._lines_between(begun, hour))
            return alive
        return {}

    def _lines_between(self, begun: str, hour: str) -> Iterator[EventLine]:
        """Yield the events from the beginning of the hour `begun`, which has a snapshot, to that of another hour."""
        if begun >= hour:
            return
        hours = [h for h in self.files.hours() if begun <= h]
        header = self.snapshot_header(begun)
        for h, following in itertools.zip_longest(hours, hours[1:]):
            compacted = self.compacted(h) if h < hour else None
            if compacted is None:
                break  # what follows is in flushes
            yield from compacted.events()
            header = compacted.header or self.snapshot_header(following) or header
        for position, lines in self.flushes_after(header.sequence if header else 0, hour=begun):
            if position.hour >= hour:
                return
            yield from lines

    def _read(self, name: str) -> Part | None:
        data = self.files.read(name)
        return None if data is None else self._decoded(name, data)

    def _decoded(self, name: str, data: bytes) -> Part:
        found: list[str] = []
        part = decode_part(f"{self.files}/{name}", data, damaged=found)
        self._add_damage(found)
        return part

    def _add_damage(self, found: Iterable[str]) -> None:
        """Add what was not found before: an object can be read several times."""
        self.damaged += [line for line in found if line not in self.damaged]

    def _position(self, cursor: str | None) -> _Cursor:
        journal_id = self.meta.journal_id
        if cursor is None:
            hours = self.files.hours()
            begun = hours[0] if hours else hour_name(self.meta.start_s)
            header = self.snapshot_header(begun)
            return _Cursor(journal_id=journal_id, hour=begun, sequence=header.sequence if header else 0)
        try:
            position = msgspec.json.decode(cursor, type=_Cursor)
        except ValueError:
            raise OtherSource(f"not a cursor of a journal: {cursor[:80]}") from None
        if position.recording_id == journal_id:  # of the journal before it was migrated: the hour is read again
            header = self.snapshot_header(position.hour)
            return _Cursor(journal_id=journal_id, hour=position.hour, sequence=header.sequence if header else 0)
        if position.journal_id != journal_id:
            raise OtherSource(f"the cursor belongs to another journal than {self.files}")
        return position


def _require_meta(files: JournalFiles) -> JournalMeta:
    meta = files.meta()
    command = f"podpower collect watch --journal {files}"
    if meta is None and files.read("recording.json") is not None:
        raise InvalidInput(f"{files} is a journal of an earlier version or a recording: `{command}` migrates a journal")
    if meta is None:
        raise Unavailable(f"no journal at {files} yet: `{command}` writes it")
    return meta
