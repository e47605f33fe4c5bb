"""A live cluster as an ObjectSource: polled into a journal, from which any hour since is read."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from podpower.collector.journal import Journal, Locked
from podpower.collector.watch import Watch
from podpower.io.retries import Note
from podpower.kubernetes.kinds import ownership_rank
from podpower.kubernetes.times import ended_s, present_form_s
from podpower.sources.kubernetes.access import Access, ClusterConfig, open_access
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import EVERYTHING, Found, Selection, Stream, listed, open_streams
from podpower.sources.protocols import ObjectEvent
from podpower.sources.recording import META, Recording, read_meta
from podpower.specs.essentials import essential

# A server sends a bookmark two seconds before the end of a watch, so a poll reaches the present even when all is quiet.
POLL_S = 4.0
KEPT_DAYS = 30.0
_FRESH_S = 120.0  # a journal that ends less than this ago is read as it is


class LiveObjects:
    """The cluster that `config` describes, with its journal in `root`. `kept_days` bounds how far back that reaches."""

    def __init__(
        self, root: Path, config: ClusterConfig, selection: Selection = EVERYTHING, *, kept_days: float = KEPT_DAYS
    ) -> None:
        """InvalidInput when no configuration describes the cluster; no request is made yet."""
        self.root = root
        self.access = open_access(config)
        self.cluster = self.access.cluster
        self._selection = selection
        self._kept_days = kept_days
        self.damaged: list[str] = []  # objects and lines that were skipped, and failures that were retried

    def poll(self, *, seconds: float = POLL_S, begins_s: float | None = None, note: Note = lambda _: None) -> int:
        """Append what changed since the last poll; return the number of events. A new journal begins at `begins_s`, now
        unless given, with the objects that exist, each from the time at which it got its form.

        Misses nothing when called at least every five minutes, which is the history that etcd keeps; after a longer
        pause it finds what is different. Unavailable when the cluster does not answer; Locked while another process
        writes the journal.
        """
        opened = Journal.opened(
            self.root, cluster=self.cluster, kept_days=self._kept_days, begins_s=begins_s, note=note
        )
        with opened as journal:
            watch = Watch(access=self.access, selection=self._selection, sinks=[journal], note=note)
            asyncio.run(watch.poll(seconds=seconds))
            return journal.events

    def events(self, *, start_s: float, end_s: float) -> Iterator[ObjectEvent]:
        """Yield the events of the journal; before it began, the objects that existed then by their own times."""
        if self._end_s() < min(end_s, time.time() - _FRESH_S):
            self._poll_or_read()
        return self._recording().events(start_s=start_s, end_s=end_s)

    def changes(self, cursor: str | None) -> tuple[list[ObjectEvent], str]:
        """Poll, and return the events after `cursor` and the cursor behind them."""
        self._poll_or_read()
        return self._recording().changes(cursor)

    def _poll_or_read(self) -> None:
        """Poll, unless another process keeps the journal up to date."""
        try:
            self.poll(note=self.damaged.append)
        except Locked:
            if self._end_s() < time.time() - _FRESH_S:
                raise

    def _end_s(self) -> float:
        return read_meta(self.root).end_s if (self.root / META).exists() else 0.0

    def _recording(self) -> Recording:
        recording = Recording(self.root)
        recording.damaged = self.damaged
        return recording


def present_objects(
    access: Access, selection: Selection = EVERYTHING, *, note: Note = lambda _: None
) -> list[ObjectEvent]:
    """Return the objects that exist now, owners first, each ADDED at the time at which it got its form; a finished
    pod at its end.
    """

    async def gathered() -> list[ObjectEvent]:
        async with Api(access, note=note) as api:
            streams = await open_streams(api, selection)
            found = await asyncio.gather(*(_present(api, stream) for stream in streams))
        return [event for one in found for event in one]

    events = asyncio.run(gathered())
    return sorted(events, key=lambda event: ownership_rank(event.object.get("kind")))


async def _present(api: Api, stream: Stream) -> list[ObjectEvent]:
    events = {}
    async for item in listed(api, stream):
        if isinstance(item, Found):
            ts = ended_s(item.object) or present_form_s(item.object) or 0.0
            events[item.object["metadata"]["uid"]] = ObjectEvent(ts=ts, type="ADDED", object=essential(item.object))
    return list(events.values())
