"""The watch: a task for each stream, one bounded queue, one writer."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from podpower.collector.checkpoint import Progress
from podpower.collector.lines import deleted, line_of, told_by
from podpower.collector.metrics import Counting
from podpower.collector.post import Poster
from podpower.collector.workloads import Making
from podpower.errors import InvalidInput
from podpower.io.retries import Note
from podpower.sources.kubernetes.access import Access
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import Change, Interrupted, Item, Known, Nameless, Stream, follow
from podpower.sources.kubernetes.live import Watching, open_streams
from podpower.specs.essentials import essential

_QUEUE_CHANGES = 500
_BATCH_CHANGES = 500
_CHECKPOINT_S = 1.0
_DRAIN_S = 5.0

_Item = Item | Interrupted


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What to do with the changes. `rejected` is told of objects that cannot be read, and lines that were refused."""

    progress: Progress
    counting: Counting
    note: Note
    rejected: Callable[[dict[str, Any]], None]
    emit_initial: bool = False
    post: str | None = None
    post_token_file: str | None = None


async def run(access: Access, watching: Watching, watch: Watch, stop: asyncio.Event) -> None:
    """Write every change until `stop`, then finish what was begun. Errors that cannot pass are raised."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api(access, tries=None, note=watch.note))
        streams = await open_streams(api, watching)
        queue: asyncio.Queue[_Item | None] = asyncio.Queue(_QUEUE_CHANGES)
        poster = None
        if watch.post:
            poster = Poster(watch.post, token_file=watch.post_token_file, counting=watch.counting, note=watch.note)
        writer = _Writer(watch, Making(api, tuple(stream.kind for stream in streams)), poster)
        following = [asyncio.create_task(_follow(api, stream, watch.progress, queue)) for stream in streams]
        writing = asyncio.create_task(writer.run(queue))
        working = [writing, *([asyncio.create_task(poster.run())] if poster else [])]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait(
                [stopping, *following, *working], return_when=asyncio.FIRST_COMPLETED
            )  # fmt: skip
            for task in done - {stopping}:
                task.result()  # it ends by an error only
        finally:
            await _end([stopping, *following])
            await writer.finish(queue, writing)
            await _end(working)


async def _follow(api: Api, stream: Stream, progress: Progress, queue: "asyncio.Queue[_Item | None]") -> None:
    known = Known(lambda uid: _stub(progress, uid), progress.gone)
    known.versions = progress.known(stream.kind.key, stream.namespace)
    async for item in follow(api, stream, progress.versions.get(stream.key), known):
        await queue.put(item)


def _stub(progress: Progress, uid: str) -> dict[str, Any] | None:
    """Stands for an object of which only its line is left."""
    return {"metadata": {"uid": uid, "name": uid}} if uid in progress.lines else None


class _Writer:
    def __init__(self, watch: Watch, making: Making, poster: Poster | None) -> None:
        self._watch, self._making, self._poster = watch, making, poster
        self._progress, self._counting = watch.progress, watch.counting
        self._checkpoint_s = time.monotonic()

    async def run(self, queue: "asyncio.Queue[_Item | None]") -> None:
        """Take what comes, as much as there is at once, until None."""
        if self._poster is not None:
            at = self._progress.posted
            for line in self._progress.unposted():
                at += len(line)
                await self._poster.put(line, at)
        ended = False
        while not ended:
            try:
                async with asyncio.timeout(_CHECKPOINT_S):
                    items = [await queue.get()]
            except TimeoutError:
                self._checkpoint()
                continue
            while len(items) < _BATCH_CHANGES and not queue.empty():
                items.append(queue.get_nowait())
            ended = None in items
            await self._write([item for item in items if item is not None])
            if time.monotonic() - self._checkpoint_s > _CHECKPOINT_S:
                self._checkpoint()

    async def finish(self, queue: "asyncio.Queue[_Item | None]", writing: "asyncio.Task[None]") -> None:
        """Write what is left, give the poster a moment, and say how far it came."""
        if writing.done():
            return
        try:
            async with asyncio.timeout(_DRAIN_S):
                await queue.put(None)
                await writing
                if self._poster is not None:
                    await self._poster.drained()
        except TimeoutError:
            self._watch.note("not everything could be posted: the next watch on this output goes on with it")
        self._checkpoint()

    async def _write(self, items: list[_Item]) -> None:
        lines: list[bytes] = []
        versions: dict[str, str] = {}
        listed = False
        for item in items:
            if isinstance(item, Change):
                line = await self._line(item)
                if line is not None:
                    lines.append(line)
            elif isinstance(item, Nameless):
                self._reject(item.object, f"{item.stream.kind}: metadata.name: missing", item.stream.kind.name or "")
            elif isinstance(item, Interrupted):
                self._counting.interrupted(item.stream.kind.key, item.reason)
                self._watch.note(f"{item.stream.kind}: {item.detail}; going on")
                continue
            elif item.listed:
                self._counting.listed(item.stream.kind.key)
                listed = True
            if item.version is not None:
                versions[item.stream.key] = item.version
        begun = self._progress.written
        if lines:
            self._progress.write(lines)
            self._counting.written(len(lines))
        self._progress.versions.update(versions)
        if self._poster is not None:
            for line in lines:
                begun += len(line)
                await self._poster.put(line, begun)
        if listed:
            self._checkpoint()  # from here on a change is told even if the next watch has to find it

    async def _line(self, change: Change) -> bytes | None:
        """The line of a change; None for what is told otherwise."""
        metadata = change.object.get("metadata") or {}
        uid, version = str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
        resource = change.stream.kind.key
        self._counting.happened(resource, change.type)
        before = self._progress.lines.get(uid)
        now_s = round(time.time(), 3)
        if change.type == "DELETED" and before is not None:
            version = version or told_by(before).resource_version
            line = deleted(before, resource_version=version, observed_at_s=now_s)
            self._progress.remember(line)
            return line
        try:
            request = await self._making.request(change.object)
        except InvalidInput as error:
            name = f"{change.object.get('kind')} {metadata.get('namespace')}/{metadata.get('name')}"
            self._reject(change.object, f"{name}: {error}", change.type)
            return None
        if request is None:
            return None
        line = line_of(
            request, event=change.type, resource=resource, uid=uid, resource_version=version, observed_at_s=now_s
        )
        first_list = change.version is None and change.stream.key not in self._progress.versions
        if first_list and not self._watch.emit_initial:
            self._progress.present(line)
            return None
        self._progress.remember(line)
        return line

    def _reject(self, obj: dict[str, Any], detail: str, event: str) -> None:
        self._counting.rejected()
        self._watch.note(f"rejected: {detail}")
        self._watch.rejected({"detail": detail, "event": event, "object": essential(obj)})

    def _checkpoint(self) -> None:
        self._checkpoint_s = time.monotonic()
        if self._poster is not None:
            self._progress.posted = self._poster.posted or self._progress.posted
            for line, detail in self._poster.refused:
                self._watch.rejected({"detail": detail, "line": msgspec.json.decode(line)})
            self._poster.refused.clear()
        self._progress.checkpoint(posts=self._poster is not None)


async def _end(tasks: "list[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
