"""The one list-watch of a cluster: a task for each stream, one bounded queue, one writer that feeds the sinks."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from podpower.collector.checkpoint import earliest
from podpower.collector.known import Change, Known
from podpower.collector.metrics import Metrics
from podpower.io.retries import Note
from podpower.sources.kubernetes.access import Access
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.identity import cluster_uid, replaced
from podpower.sources.kubernetes.list_watch import (
    Interrupted,
    Item,
    Listed,
    Selection,
    Stream,
    follow,
    open_streams,
)

_T = TypeVar("_T")
_QUEUE_ITEMS = 500
_BATCH_ITEMS = 500
CHECKPOINT_S = 1.0
_FINISH_S = 5.0


class Sink(Protocol):
    """Destination of changes. A sink has its own checkpoint; `known` decides which changes are new to it."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Return the version at which each stream resumes."""
        ...

    def known(self, stream: Stream) -> Known:
        """Return what the sink has of a stream."""
        ...

    def begin(self, api: Api, streams: list[Stream]) -> None:
        """Prepare to take changes of these streams."""
        ...

    async def run(self) -> None:
        """Work beside the writer until cancelled."""
        ...

    async def take(self, change: Change) -> None:
        """Take a change."""
        ...

    def identify(self, uid: str) -> None:
        """Take the identity of the cluster that is watched, "" where it is unknown."""
        ...

    def observe(self, item: Item) -> None:
        """Take note of an item before its changes."""
        ...

    async def flush(self, versions: Mapping[str, str]) -> None:
        """Pass on a batch of changes, after which the streams resume at `versions`."""
        ...

    def checkpoint(self, versions: Mapping[str, str]) -> None:
        """Put on disk what was taken, then where the streams resume."""
        ...

    async def drain(self) -> None:
        """Finish what takes time, at the end."""
        ...


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A watch of the selected objects of a cluster into `sinks`. `pods_later_s` delays pods, so that their owners come
    first; `checkpoint_s` is the time between two checkpoints of the sinks.
    """

    access: Access
    selection: Selection
    sinks: Sequence[Sink]
    note: Note
    metrics: Metrics = field(default_factory=Metrics)
    pods_later_s: float = 0.0
    checkpoint_s: float = CHECKPOINT_S

    async def follow(self, stop: asyncio.Event) -> None:
        """Write every change until `stop`, then finish what was begun. Raise errors that a retry cannot mend.

        A cluster that is rebuilt under the same address is listed again.
        """
        async with Api(self.access, tries=None, note=self.note) as api:
            uid: str | None = await _unless(stop, cluster_uid(api))
            lists = False
            while uid is not None:
                for sink in self.sinks:
                    sink.identify(uid)
                uid = await self._follow(api, stop, uid, lists=lists)
                lists = True

    async def _follow(self, api: Api, stop: asyncio.Event, uid: str, *, lists: bool) -> str | None:
        """Write every change of the cluster `uid`, from its versions or from new lists; return the UID of the cluster
        that came in its place, None after `stop`.
        """
        streams = await _unless(stop, open_streams(api, self.selection))
        if streams is None:
            return None
        for sink in self.sinks:
            sink.begin(api, streams)
        versions = {} if lists else earliest([sink.versions for sink in self.sinks])
        writer = _Writer(self, streams)
        reading: list[asyncio.Task[Any]] = [
            asyncio.create_task(writer.read(follow(api, s, versions.get(s.key)), later_s=self._later_s(s)))
            for s in streams
        ]
        writing = asyncio.create_task(writer.run())
        working: list[asyncio.Task[Any]] = [writing, *(asyncio.create_task(sink.run()) for sink in self.sinks)]
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        replacing = asyncio.create_task(replaced(api, uid))
        try:
            done, _ = await asyncio.wait([stopping, replacing, *reading, *working], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping, replacing}:
                task.result()  # it ends by an error only
            return None if stopping in done else replacing.result()
        finally:
            await _cancel([stopping, replacing, *reading])
            if not writing.done():
                await writer.finish(writing)
            await _cancel(working)

    def _later_s(self, stream: Stream) -> float:
        return self.pods_later_s if _is_pods(stream) else 0.0


class _Writer:
    """Feeds the sinks of a watch with the items of its streams."""

    def __init__(self, watch: Watch, streams: Sequence[Stream]) -> None:
        self._sinks, self._note, self._metrics = watch.sinks, watch.note, watch.metrics
        self._known = [{stream.key: sink.known(stream) for stream in streams} for sink in watch.sinks]
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue(_QUEUE_ITEMS)
        self._versions: dict[str, str] = {}
        self._checkpoint_every_s, self._checkpoint_s = watch.checkpoint_s, time.monotonic()

    async def read(self, items: AsyncIterator[Item], *, later_s: float = 0.0) -> None:
        """Queue the items of a stream, each `later_s` after it came."""
        if later_s == 0.0:
            async for item in items:
                await self._queue.put(item)
            return
        waiting: asyncio.Queue[tuple[float, Item]] = asyncio.Queue(_QUEUE_ITEMS)
        delaying = asyncio.create_task(self._delay(waiting))
        try:
            async for item in items:
                await waiting.put((time.monotonic() + later_s, item))
        finally:
            await _cancel([delaying])

    async def run(self) -> None:
        """Write items in batches, with a checkpoint every now and then, until the queue is closed."""
        ended = False
        while not ended:
            try:
                async with asyncio.timeout(self._checkpoint_every_s):
                    items = [await self._queue.get()]
            except TimeoutError:
                self.checkpoint()
                continue
            while len(items) < _BATCH_ITEMS and not self._queue.empty():
                items.append(self._queue.get_nowait())
            ended = None in items
            listed = await self._write([item for item in items if item is not None])
            # After a list a change is found even if only the next watch can see it.
            if listed or time.monotonic() - self._checkpoint_s > self._checkpoint_every_s:
                self.checkpoint()

    async def close(self) -> None:
        """Let `run` end after what is queued."""
        await self._queue.put(None)

    async def finish(self, writing: "asyncio.Task[None]") -> None:
        """Write what is queued, give the sinks a moment, and write a last checkpoint."""
        try:
            async with asyncio.timeout(_FINISH_S):
                await self.close()
                await writing
                self.checkpoint()
                for sink in self._sinks:
                    await sink.drain()
        except TimeoutError:
            self._note("not everything is written or posted yet: the next watch on this output continues with it")
        self.checkpoint()

    def checkpoint(self) -> None:
        """Write the checkpoint of every sink."""
        self._checkpoint_s = time.monotonic()
        for sink in self._sinks:
            sink.checkpoint(self._versions)

    async def _write(self, items: list[Item]) -> bool:
        """Feed a batch to the sinks; return whether a list ended in it."""
        versions: dict[str, str] = {}
        listed = False
        for item in items:
            if isinstance(item, Interrupted):
                self._metrics.interrupted(item.stream.kind.key, item.reason)
                self._note(f"{item.stream.kind}: {item.detail}; resuming")
            for number, sink in enumerate(self._sinks):
                await self._feed(sink, item, self._known[number][item.stream.key], counts=number == 0)
            if isinstance(item, Listed):
                self._metrics.listed(item.stream.kind.key)
                listed = True
            if item.version is not None:
                versions[item.stream.key] = item.version
        for sink in self._sinks:
            await sink.flush(versions)
        self._versions.update(versions)
        return listed

    async def _feed(self, sink: Sink, item: Item, known: Known, *, counts: bool) -> None:
        sink.observe(item)
        for change in known.changes(item):
            if counts:
                self._metrics.changed(item.stream.kind.key, change.type)
            await sink.take(change)

    async def _delay(self, waiting: "asyncio.Queue[tuple[float, Item]]") -> None:
        while True:
            due_s, item = await waiting.get()
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await self._queue.put(item)


def _is_pods(stream: Stream) -> bool:
    return stream.kind.name == "Pod"


async def _cancel(tasks: "Sequence[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """Return the result of what a cluster without an answer would keep waiting; None when `stop` comes first."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return None
