"""A live cluster as an ObjectSource: polled into a journal, from which any hour since is read."""

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podpower.errors import InvalidInput
from podpower.io.retries import Again, Note
from podpower.kubernetes.kinds import OBSERVED, Kind
from podpower.sources.kubernetes.access import Access, Wanted, open_access
from podpower.sources.kubernetes.api import Api, Gone, Missing
from podpower.sources.kubernetes.journal import OWNERSHIP, Journal
from podpower.sources.kubernetes.list_watch import (
    EVERYTHING,
    Change,
    Known,
    Nameless,
    Reached,
    Selection,
    Stream,
    listed,
    streams_of,
    watched,
)
from podpower.sources.kubernetes.times import present_form_s
from podpower.sources.protocols import ObjectEvent
from podpower.sources.recording import META, Recording, read_meta
from podpower.specs.essentials import essential

# A server sends a bookmark two seconds before the end of a watch, so a poll reaches the present even when all is quiet.
POLL_S = 4.0
_OWNERS_LONGER_S = 1.0  # owners are watched a little longer than pods: no pod comes without what made it
_IDLE_S = 20.0
_FRESH_S = 120.0  # a journal that ends sooner than this ago is read as it is
_KEPT_DAYS = 30.0


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What of a cluster is observed."""

    kinds: tuple[Kind, ...] = OBSERVED
    selection: Selection = EVERYTHING


class LiveObjects:
    """The cluster that `wanted` describes, its journal kept in `root`. `kept_days` bound how far back that reaches."""

    def __init__(
        self, root: Path, wanted: Wanted, watching: Watching | None = None, *, kept_days: float = _KEPT_DAYS
    ) -> None:
        """InvalidInput when there is no such cluster; nothing is asked of it yet."""
        self.root = root
        self.access = open_access(wanted)
        self.cluster = self.access.cluster
        self._watching = watching or Watching()
        self._kept_days = kept_days
        self.damaged: list[str] = []  # what was passed over in what was read so far, and what went wrong by the way

    def poll(self, *, seconds: float = POLL_S, begins_s: float | None = None, note: Note = lambda _: None) -> int:
        """Append what changed since the last poll and return how many events that were. A new journal begins at
        `begins_s`, now unless given: what is there tells itself since when.

        Misses nothing when it is called at least every five minutes, which is the history that etcd keeps; after a
        longer pause it finds what is different. Unavailable when the cluster does not answer.
        """
        now_s = time.time()
        with Journal.opened(self.root, cluster=self.cluster, begins_s=begins_s) as journal:
            versions = asyncio.run(self._caught_up(journal, seconds=seconds, note=note))
            written = journal.write(versions, now_s=time.time())
            journal.prune(before_s=now_s - self._kept_days * 86400.0)
        return written

    def events(self, *, start_s: float, end_s: float) -> Iterator[ObjectEvent]:
        """Of the journal; before it began, of the objects that were there then and say how long."""
        reached_s = read_meta(self.root).end_s if (self.root / META).exists() else 0.0
        if reached_s < min(end_s, time.time() - _FRESH_S):
            self.poll(note=self.damaged.append)
        return self._recording().events(start_s=start_s, end_s=end_s)

    def changes(self, cursor: str | None) -> tuple[list[ObjectEvent], str]:
        """Poll, then the events since `cursor` and the cursor behind them."""
        self.poll(note=self.damaged.append)
        return self._recording().changes(cursor)

    def _recording(self) -> Recording:
        recording = Recording(self.root)
        recording.damaged = self.damaged
        return recording

    async def _caught_up(self, journal: Journal, *, seconds: float, note: Note) -> dict[str, str]:
        """Take what changed into the journal; returns the version that each stream reached."""
        async with Api(self.access, note=note) as api:
            streams = await open_streams(api, self._watching)
            reached = await asyncio.gather(*(_catch_up(api, stream, journal, seconds) for stream in streams))
        return {stream.key: version for stream, version in zip(streams, reached, strict=True)}


async def open_streams(api: Api, watching: Watching) -> list[Stream]:
    """Streams of the kinds, those that were given by their path named as the API names them."""
    kinds = [kind if kind.name else await _named(api, kind) for kind in watching.kinds]
    return streams_of(tuple(kinds), watching.selection)


def present_objects(
    access: Access, watching: Watching | None = None, *, note: Note = lambda _: None
) -> list[ObjectEvent]:
    """The objects that are there now, owners first, each ADDED at the time since which it is as it is."""

    async def gathered() -> list[ObjectEvent]:
        async with Api(access, note=note) as api:
            streams = await open_streams(api, watching or Watching())
            found = await asyncio.gather(*(_present(api, stream) for stream in streams))
        return [event for one in found for event in one]

    events = asyncio.run(gathered())
    return sorted(events, key=lambda event: OWNERSHIP.get(str(event.object.get("kind")), 0))


async def _present(api: Api, stream: Stream) -> list[ObjectEvent]:
    events = []
    async for item in listed(api, stream, Known()):
        if isinstance(item, Change):
            ts = present_form_s(item.object) or 0.0
            events.append(ObjectEvent(ts=ts, type="ADDED", object=essential(item.object)))
    return events


async def _catch_up(api: Api, stream: Stream, journal: Journal, seconds: float) -> str:
    """Take the changes of a stream since the journal's version; returns the version reached."""
    known = Known(journal.last, journal.gone)
    known.versions = journal.known(stream)
    version = journal.versions.get(stream.key)
    if version is not None:
        longer_s = 0.0 if stream.kind.name == "Pod" else _OWNERS_LONGER_S
        try:
            async for found in watched(api, stream, version, known, timeout_s=seconds + longer_s, idle_s=_IDLE_S):
                version = found.version or version
                if isinstance(found, Change):
                    journal.take(found, now_s=time.time())
                elif isinstance(found, Nameless):
                    api.note(f"{stream.kind}: an object without a name was passed over")
            return str(version)
        except Gone:
            api.note(f"{stream.kind}: the history before {version} is gone; listing again")
        except Again as error:
            api.note(f"{stream.kind}: {error}")
            return str(version)
    async for item in listed(api, stream, known):
        if isinstance(item, Reached):
            version = item.version
        elif isinstance(item, Nameless):
            api.note(f"{stream.kind}: an object without a name was passed over")
        else:
            journal.take(item, now_s=time.time())
    return str(version)


class _Resource(msgspec.Struct):
    name: str
    kind: str


class _Resources(msgspec.Struct):
    resources: list[_Resource] = []


async def _named(api: Api, kind: Kind) -> Kind:
    """The kind with the name that the API gives it. Missing where there is none."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    try:
        found = msgspec.json.decode(await api.get(root, kind=kind), type=_Resources)
    except ValueError as error:
        raise InvalidInput(f"{api.access.server}{root} is no list of resources: {error}") from None
    names = [resource.kind for resource in found.resources if resource.name == kind.plural]
    if not names:
        raise Missing(f"{api.access.server} has no {kind.plural} of {kind.api_version}: check the kind")
    return dataclasses.replace(kind, name=names[0])
