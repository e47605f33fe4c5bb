"""The NDJSON sink: each change of a workload as a line of the output, and of the URL that lines are posted to."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from podpower.collector.known import Change, Known
from podpower.collector.lines import deleted_line, encode_line, line_key
from podpower.collector.metrics import Metrics
from podpower.collector.output import Output
from podpower.collector.post import Poster
from podpower.collector.workloads import Workloads
from podpower.errors import InvalidInput
from podpower.io.retries import Note
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import Item, Nameless, Stream
from podpower.specs.essentials import essential

Reject = Callable[[dict[str, Any]], None]


class NdjsonSink:
    """Writes changes to `output`, and posts them where `poster` is given. `reject` takes objects that cannot be read
    and lines that were refused.
    """

    def __init__(
        self, output: Output, *, note: Note, reject: Reject, metrics: Metrics, emit_initial: bool = False,
        poster: Poster | None = None,
    ) -> None:  # fmt: skip
        self._output, self._poster, self._emit_initial = output, poster, emit_initial
        self._note, self._reject, self._metrics = note, reject, metrics
        self._workloads: Workloads | None = None
        self._listed: set[str] = set(output.last.versions)
        self._lines: list[bytes] = []

    @property
    def versions(self) -> Mapping[str, str]:
        """Return the version at which each stream resumes."""
        return self._output.last.versions

    def known(self, stream: Stream) -> Known:
        """Return what the output has of a stream."""
        return self._output.known(stream)

    def begin(self, api: Api, streams: list[Stream]) -> None:
        """Prepare to take changes of these streams."""
        self._workloads = Workloads(api, tuple(stream.kind for stream in streams))

    async def run(self) -> None:
        """Post lines until cancelled, those first that earlier watches left."""
        if self._poster is None:
            await asyncio.Event().wait()
        else:
            await self._poster.run(self._output.unposted(), begin=self._output.last.posted)

    async def take(self, change: Change) -> None:
        """Make the line of a change, where it has one."""
        before = self._output.lines.get(change.uid)
        now_s = round(time.time(), 3)
        if change.type == "DELETED" and before is not None:
            version = change.resource_version or line_key(before).resource_version
            self._add(deleted_line(before, resource_version=version, observed_at_s=now_s))
            return
        if change.type == "DELETED" and change.listed:
            return  # it had no line
        try:
            assert self._workloads is not None  # noqa: S101  # `begin` comes first
            request = await self._workloads.request(change.object)
        except InvalidInput as error:
            metadata = change.object["metadata"]
            name = f"{change.object.get('kind')} {metadata.get('namespace')}/{metadata.get('name')}"
            self._refuse(change.object, f"{name}: {error}", change.type)
            return
        if request is None:
            return
        line = encode_line(
            request, event=change.type, resource=change.stream.kind.key, uid=change.uid,
            resource_version=change.resource_version, observed_at_s=now_s,
        )  # fmt: skip
        if change.listed and not self._emit_initial and change.stream.key not in self._listed:
            self._output.keep_unwritten(line)
        else:
            self._add(line)

    def identify(self, uid: str) -> None:
        """Accept any cluster: the output does not keep its identity."""

    def observe(self, item: Item) -> None:
        """Reject an object without a name."""
        if isinstance(item, Nameless):
            self._refuse(item.object, f"{item.stream.kind}: metadata.name: missing", item.stream.kind.name or "")

    async def flush(self, versions: Mapping[str, str]) -> None:
        """Write the lines of a batch, after which the streams resume at `versions`; waits while posts are behind."""
        lines, self._lines = self._lines, []
        self._listed.update(versions)
        if not lines:
            return
        end = self._output.written
        self._output.write(lines)
        self._metrics.written(len(lines))
        if self._poster is not None:
            for line in lines:
                end += len(line)
                await self._poster.put(line, end)

    def checkpoint(self, versions: Mapping[str, str]) -> None:
        """Put on disk what was written, then where the streams resume."""
        posted = None
        if self._poster is not None:
            posted = max(self._poster.posted, self._output.last.posted)
            for line, detail in self._poster.take_refused():
                self._reject({"detail": detail, "line": msgspec.json.decode(line)})
        self._output.checkpoint(versions, posted=posted)

    async def drain(self) -> None:
        """Wait until every line is posted."""
        if self._poster is not None:
            await self._poster.drained()

    def _add(self, line: bytes) -> None:
        self._output.remember(line)
        self._lines.append(line)

    def _refuse(self, obj: dict[str, Any], detail: str, event: str) -> None:
        self._metrics.rejected()
        self._note(f"rejected: {detail}")
        self._reject({"detail": detail, "event": event, "object": essential(obj)})
