"""The one list-watch of a cluster: a task for each stream, one bounded queue, one writer that feeds the sinks."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from podpower.collector.checkpoint import earliest
from podpower.collector.known import Change, Known
from podpower.collector.metrics import Metrics
from podpower.io.retries import Note
from podpower.sources.kubernetes.access import Access
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import (
    Interrupted,
    Item,
    Listed,
    Nameless,
    Selection,
    Stream,
    catch_up,
    follow,
    open_streams,
)

_QUEUE_ITEMS = 500
_BATCH_ITEMS = 500
_CHECKPOINT_S = 1.0
_FINISH_S = 5.0
_IDLE_S = 20.0
# Owners are polled a little longer than pods: no pod comes without what made it.
_OWNERS_LONGER_S = 1.0


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

    def take_nameless(self, item: Nameless) -> None:
        """Take an object that cannot be identified."""
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
    first.
    """

    access: Access
    selection: Selection
    sinks: Sequence[Sink]
    note: Note
    metrics: Metrics = field(default_factory=Metrics)
    pods_later_s: float = 0.0

    async def follow(self, stop: asyncio.Event) -> None:
        """Write every change until `stop`, then finish what was begun. Raise errors that a retry cannot mend."""
        async with Api(self.access, tries=None, note=self.note) as api:
            writer, streams = await self._begin(api)
            reading: list[asyncio.Task[Any]] = [
                asyncio.create_task(writer.read(follow(api, s, version), later_s=self._later_s(s)))
                for s, version in streams
            ]
            writing = asyncio.create_task(writer.run(checkpoint_s=_CHECKPOINT_S))
            working: list[asyncio.Task[Any]] = [writing, *(asyncio.create_task(sink.run()) for sink in self.sinks)]
            stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
            try:
                done, _ = await asyncio.wait([stopping, *reading, *working], return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopping}:
                    task.result()  # it ends by an error only
            finally:
                await _cancel([stopping, *reading])
                if not writing.done():
                    await writer.finish(writing)
                await _cancel(working)

    async def poll(self, *, seconds: float) -> None:
        """Write what changed since the last checkpoint, and of a stream that listed what is different. Nothing is
        written when a stream fails.
        """
        async with Api(self.access, note=self.note) as api:
            writer, streams = await self._begin(api)
            reading = []
            for stream, version in streams:
                longer_s = 0.0 if _is_pods(stream) else _OWNERS_LONGER_S
                items = catch_up(api, stream, version, seconds=seconds + longer_s, idle_s=_IDLE_S)
                reading.append(asyncio.create_task(writer.read(items)))
            writing = asyncio.create_task(writer.run(checkpoint_s=None))
            all_read: asyncio.Future[Any] = asyncio.gather(*reading)
            try:
                await asyncio.wait([all_read, writing], return_when=asyncio.FIRST_COMPLETED)
                if writing.done():
                    writing.result()  # it ends by an error only
                await all_read
                await writer.close()
                await writing
            finally:
                await _cancel([*reading, writing])
            writer.checkpoint()

    async def _begin(self, api: Api) -> "tuple[_Writer, list[tuple[Stream, str | None]]]":
        streams = await open_streams(api, self.selection)
        for sink in self.sinks:
            sink.begin(api, streams)
        versions = earliest([sink.versions for sink in self.sinks])
        return _Writer(self, streams), [(stream, versions.get(stream.key)) for stream in streams]

    def _later_s(self, stream: Stream) -> float:
        return self.pods_later_s if _is_pods(stream) else 0.0


class _Writer:
    """Feeds the sinks of a watch with the items of its streams."""

    def __init__(self, watch: Watch, streams: Sequence[Stream]) -> None:
        self._sinks, self._note, self._metrics = watch.sinks, watch.note, watch.metrics
        self._known = [{stream.key: sink.known(stream) for stream in streams} for sink in watch.sinks]
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue(_QUEUE_ITEMS)
        self._versions: dict[str, str] = {}
        self._checkpoint_s = time.monotonic()

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

    async def run(self, *, checkpoint_s: float | None) -> None:
        """Write items in batches, with a checkpoint every `checkpoint_s`, until the queue is closed."""
        ended = False
        while not ended:
            try:
                async with asyncio.timeout(checkpoint_s):
                    items = [await self._queue.get()]
            except TimeoutError:
                self.checkpoint()
                continue
            while len(items) < _BATCH_ITEMS and not self._queue.empty():
                items.append(self._queue.get_nowait())
            ended = None in items
            listed = await self._write([item for item in items if item is not None])
            if checkpoint_s is None:
                continue
            # After a list a change is found even if only the next watch can see it.
            if listed or time.monotonic() - self._checkpoint_s > checkpoint_s:
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
                continue
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
        if isinstance(item, Nameless):
            sink.take_nameless(item)
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
