"""Lists and watches: every change of the objects of one kind, none lost and none twice for one resourceVersion.

A stream lists in pages, then watches from the list's version. It goes on from the last version after a connection
broke, and lists again when that version is gone (410); what changed in between is told from what was known.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import msgspec

from podpower.errors import InvalidInput
from podpower.io.retries import Again, Backoff
from podpower.kubernetes.kinds import Kind
from podpower.sources.kubernetes.api import PAGE, Api, Gone
from podpower.sources.kubernetes.reading import read_object
from podpower.sources.protocols import EventType

_WATCH_S = 290  # less than the five minutes of history that etcd keeps
_IDLE_S = 90.0  # bookmarks come about every minute
_QUICK_S = 1.0  # a watch that ends sooner is waited for


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which objects: namespaces to take (all when empty) or to leave out, and a label selector."""

    namespaces: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    labels: str | None = None

    def parameters(self) -> dict[str, str]:
        """Of a request."""
        found = {}
        if self.exclude:
            found["fieldSelector"] = ",".join(f"metadata.namespace!={name}" for name in self.exclude)
        if self.labels:
            found["labelSelector"] = self.labels
        return found


EVERYTHING = Selection()


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One kind in one namespace, or in all of them."""

    kind: Kind
    namespace: str | None = None
    selection: Selection = EVERYTHING

    @property
    def key(self) -> str:
        """The same stream always under the same text."""
        return f"{self.kind.key}@{self.namespace or ''}"

    @property
    def path(self) -> str:
        """Where the API has it."""
        return self.kind.path(self.namespace)


def streams_of(kinds: tuple[Kind, ...], selection: Selection) -> list[Stream]:
    """A stream a kind, or a kind and namespace where these are named: that needs no rights on the whole cluster."""
    taken: list[str | None] = [name for name in selection.namespaces if name not in selection.exclude]
    if selection.namespaces and not taken:
        raise InvalidInput("every namespace that is named is also excluded")
    taken = taken or [None]
    return [Stream(kind=kind, namespace=name, selection=selection) for kind in kinds for name in taken]


@dataclass(frozen=True, kw_only=True)
class Change:
    """An object changed. `version` is where its stream goes on after it, None while it is being listed."""

    stream: Stream
    type: EventType
    object: dict[str, Any]
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Everything of the stream up to `version` has been told."""

    stream: Stream
    version: str
    listed: bool = False


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """The stream broke and goes on by itself; `reason` "gone" when it has to list again, else "broken"."""

    stream: Stream
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Nameless:
    """An object that cannot be told from others, and is passed over."""

    stream: Stream
    object: dict[str, Any]
    version: str | None = None


def is_later(version: str, than: str | None) -> bool:
    """Whether a resourceVersion of an object follows another one of it. Versions are decimal numbers that grow
    (https://kep.k8s.io/5504); those of a server that does not number them are only compared for equality.
    """
    if version.isdecimal() and than is not None and than.isdecimal():
        return int(version) > int(than)
    return version == "" or version != than


class Known:
    """What was told of a stream's objects: the resourceVersion of each uid, and how to name one that has gone."""

    def __init__(
        self, last: Callable[[str], dict[str, Any] | None] = lambda _: None, gone: Mapping[str, str] | None = None
    ) -> None:
        """`last` gives the last known form of an object of this uid. `gone` has the resourceVersion at which objects
        were deleted that the server can send again, because the stream resumes before it.
        """
        self.versions: MutableMapping[str, str] = {}
        self.last = last
        self._gone = gone or {}

    def change(
        self, stream: Stream, type_: EventType, obj: dict[str, Any], version: str | None
    ) -> Change | Nameless | None:
        """The change, or None where it was told already."""
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("name"):
            return Nameless(stream=stream, object=obj, version=version)
        metadata["uid"] = metadata.get("uid") or f"{metadata.get('namespace')}/{metadata['name']}"
        uid, own = str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
        before = self.versions.get(uid)
        if version is not None and not is_later(own, before or self._gone.get(uid)):
            return None  # sent again, because the stream resumed before it
        if type_ == "DELETED":
            if before is None:
                return None
            del self.versions[uid]
        else:
            if own and before == own:
                return None
            type_ = "ADDED" if before is None else "MODIFIED"
            self.versions[uid] = own
        return Change(stream=stream, type=type_, object=obj, version=version)


Item = Change | Nameless | Reached


async def follow(api: Api, stream: Stream, version: str | None, known: Known) -> AsyncIterator[Item | Interrupted]:
    """Every change from `version` on, or from a new list, for ever. InvalidInput where it cannot work."""
    backoff = Backoff()
    while True:
        try:
            if version is None:
                async for item in listed(api, stream, known):
                    yield item
                    if isinstance(item, Reached):
                        version = item.version
                        backoff.reset()
            began = time.monotonic()
            async for found in watched(api, stream, str(version), known, timeout_s=_WATCH_S, idle_s=_IDLE_S):
                version = found.version or version
                yield found
                backoff.reset()
            if time.monotonic() - began < _QUICK_S:
                await asyncio.sleep(backoff.next_s())
        except Gone:
            yield Interrupted(stream=stream, reason="gone", detail=f"the history before {version} is gone")
            version = None
        except Again as error:
            yield Interrupted(stream=stream, reason="broken", detail=str(error))
            await asyncio.sleep(backoff.next_s(at_least_s=error.wait_s))


async def listed(api: Api, stream: Stream, known: Known) -> AsyncIterator[Item]:
    """The objects that are there, page by page: what is new, what differs from what was known, and what has gone."""
    while True:
        seen: set[str] = set()
        try:
            async for page in _pages(api, stream):
                for obj in page.objects():
                    change = known.change(stream, "ADDED", obj, None)
                    if not isinstance(change, Nameless):
                        seen.add(str(obj["metadata"]["uid"]))
                    if change:
                        yield change
            break
        except Gone:  # the list took so long that its first page is history
            api.note(f"{stream.kind}: the list was cut short; listing again")
    for uid in [uid for uid in known.versions if uid not in seen]:
        gone = known.last(uid)
        if gone is None:
            del known.versions[uid]
            continue
        if page.version:  # it was deleted at this version at the latest
            gone["metadata"]["resourceVersion"] = page.version
        change = known.change(stream, "DELETED", gone, None)
        if change:
            yield change
    yield Reached(stream=stream, version=page.version, listed=True)


async def watched(
    api: Api, stream: Stream, version: str, known: Known, *, timeout_s: float, idle_s: float
) -> AsyncIterator[Item]:
    """Changes after `version` until the server ends the watch. Gone and Again as they say."""
    parameters: dict[str, str | int] = {
        **stream.selection.parameters(), "watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true",
        "timeoutSeconds": max(1, round(timeout_s)),
    }  # fmt: skip
    async for line in api.watch(stream.path, parameters, kind=stream.kind, idle_s=idle_s):
        if not line.strip():
            continue
        try:
            event = _EVENT.decode(line)
        except ValueError:
            raise Again("an event was cut short") from None
        if event.type == "ERROR":
            _refuse(msgspec.json.decode(event.object))
        obj = read_object(event.object)
        metadata = obj.get("metadata")
        reached = str((metadata.get("resourceVersion") if isinstance(metadata, dict) else None) or version)
        if event.type == "BOOKMARK":
            if is_later(version, reached) and reached.isdecimal():
                raise Gone  # the server was set back to an older state
            yield Reached(stream=stream, version=reached)
        elif event.type in {"ADDED", "MODIFIED", "DELETED"}:
            change = known.change(stream, event.type, obj, reached)  # type: ignore[arg-type]
            yield change or Reached(stream=stream, version=reached)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw = msgspec.Raw(b"{}")


class _ListMeta(msgspec.Struct, rename={"version": "resourceVersion", "rest": "continue"}):
    version: str = ""
    rest: str = ""


class _Page(msgspec.Struct, rename={"api_version": "apiVersion"}):
    metadata: _ListMeta
    kind: str = "List"
    api_version: str = ""
    items: list[msgspec.Raw] | None = None

    @property
    def version(self) -> str:
        return self.metadata.version

    def objects(self) -> Iterator[dict[str, Any]]:
        """Items, with the kind and version that typed lists leave out."""
        kind = self.kind.removesuffix("List")
        for raw in self.items or ():
            item = read_object(raw)
            item.setdefault("kind", kind)
            item.setdefault("apiVersion", self.api_version)
            yield item


_EVENT = msgspec.json.Decoder(_Event)
_PAGE = msgspec.json.Decoder(_Page)


async def _pages(api: Api, stream: Stream) -> AsyncIterator[_Page]:
    rest = ""
    while True:
        parameters: dict[str, str | int] = {**stream.selection.parameters(), "limit": PAGE}
        if rest:
            parameters["continue"] = rest
        body = await api.get(stream.path, parameters, kind=stream.kind)
        try:
            page = _PAGE.decode(body)
        except ValueError as error:
            raise InvalidInput(f"{api.access.server}{stream.path} is no list of objects: {error}") from None
        yield page
        rest = page.metadata.rest
        if not rest:
            return


def _refuse(status: dict[str, Any]) -> None:
    """An ERROR event: 410 in its other form, or something that may pass."""
    if status.get("code") == 410 or status.get("reason") in {"Expired", "Gone"}:
        raise Gone
    seconds = (status.get("details") or {}).get("retryAfterSeconds") or 0
    raise Again(f"the server says {status.get('message') or status.get('reason') or 'error'}", wait_s=float(seconds))
