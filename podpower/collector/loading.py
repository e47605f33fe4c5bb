"""Loading of what the writer of a journal needs: objects, versions, and hours that were not compacted."""

import itertools
from dataclasses import dataclass, field

from podpower.collector.alive import Objects
from podpower.collector.compaction import Ended
from podpower.hours import hour_name
from podpower.sources.journal.format import Gap, Header
from podpower.sources.journal.reader import JournalReader


@dataclass(kw_only=True)
class Written:
    """State after the last flush, `sequence` of `hour`. `last` is the newest intact header, None before the first.
    `gaps` are all that the journal has, `hour_gaps` those of the hour. `ended`: hours that a kill left uncompacted.
    """

    objects: Objects = field(default_factory=Objects)
    hour: str
    sequence: int = 0
    first_sequence: int = 1  # of the hour
    last: Header | None = None
    gaps: list[Gap] = field(default_factory=list)
    hour_gaps: list[Gap] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    def end_hour(self, begins: str) -> None:
        """End the hour before `begins`: it is to be compacted."""
        self.gaps += self.hour_gaps
        self.ended.append(
            Ended(
                hour=self.hour, begins=begins, first_sequence=self.first_sequence, last_sequence=self.sequence,
                alive=list(self.objects.alive.values()), gaps=tuple(self.gaps), hour_gaps=tuple(self.hour_gaps),
                last=self.last,
            )
        )  # fmt: skip
        self.hour, self.first_sequence, self.hour_gaps = begins, self.sequence + 1, []


def load(reader: JournalReader, *, now_s: float) -> Written | None:
    """Return what was written; None where the journal has no hour yet."""
    hours = reader.files.hours()
    if not hours:
        return None
    base, part = next(
        ((hour, part) for hour in reversed(hours) if (part := reader.snapshot(hour)) is not None), (hours[0], None)
    )
    written = Written(hour=base)
    if part is not None and part.header is not None:
        written.objects.apply(part.events())
        written.sequence, written.last, written.gaps = part.header.sequence, part.header, list(part.header.gaps)
        written.first_sequence = written.sequence + 1
    later = [hour for hour in hours if hour >= base]
    for hour, following in itertools.zip_longest(later, later[1:]):
        compacted = reader.compacted(hour)
        header = compacted.header or reader.snapshot_header(following) if compacted else None
        if compacted is None or header is None:
            break  # what follows is in flushes
        written.objects.apply(compacted.events())
        written.last, written.sequence = header, header.sequence
        written.hour, written.hour_gaps = hour, list(compacted.header.gaps) if compacted.header else []
    for position, flush in reader.parts_after(written.sequence, hour=written.hour):
        if position.hour > written.hour:
            written.end_hour(position.hour)
        written.objects.apply(flush.events())
        written.sequence = position.sequence
        if flush.header is not None:
            written.last, written.hour_gaps = flush.header, list(flush.header.gaps)
    if (hour := hour_name(now_s)) > written.hour:
        written.end_hour(hour)
    return written
