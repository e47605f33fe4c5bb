"""Lists and watches of a cluster's objects, one stream for each kind.

A stream lists in pages, then watches from the version of the list. It resumes from its last version when the connection
breaks, and lists again when the server no longer has that version (410). Each item carries the version from which its
stream resumes after it. A stream can repeat items; `podpower.collector.known` finds those that a reader has already.
"""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from podpower.errors import InvalidInput
from podpower.io.retries import Again, Backoff
from podpower.kubernetes.kinds import OBSERVED, Kind
from podpower.kubernetes.reading import decode_object
from podpower.kubernetes.types import EventType
from podpower.sources.kubernetes.api import PAGE, Api, Gone, Missing

_WATCH_S = 290  # less than the five minutes of history that etcd keeps
_IDLE_S = 90.0  # bookmarks come about every minute
_QUICK_S = 1.0  # a watch that ends sooner is followed by a pause

Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The objects to observe: kinds, namespaces to take (all when empty) or to leave out, and a label selector."""

    kinds: tuple[Kind, ...] = OBSERVED
    namespaces: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    labels: str | None = None

    def parameters(self) -> dict[str, str]:
        """Return the query parameters of a list or watch."""
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
        """Name of the stream in checkpoints."""
        return f"{self.kind.key}@{self.namespace or ''}"

    @property
    def path(self) -> str:
        """Path of the collection in the API."""
        return self.kind.path(self.namespace)


async def open_streams(api: Api, selection: Selection) -> list[Stream]:
    """Return a stream for each kind, or for each kind and namespace where namespaces are named, which needs no rights
    on the whole cluster. Kinds given by their path get their name from the API.
    """
    namespaces: list[str | None] = [name for name in selection.namespaces if name not in selection.exclude]
    if selection.namespaces and not namespaces:
        raise InvalidInput("every namespace that is named is also excluded: leave one of the two options out")
    kinds = [kind if kind.name else await _named(api, kind) for kind in selection.kinds]
    return [Stream(kind=k, namespace=name, selection=selection) for k in kinds for name in namespaces or [None]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object of a list."""

    stream: Stream
    object: Object
    version: None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of a watch, as the server sent it."""

    stream: Stream
    type: EventType
    object: Object
    version: str


@dataclass(frozen=True, kw_only=True)
class Nameless:
    """An object without a name, which cannot be identified."""

    stream: Stream
    object: Object
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """End of a list: the stream has exactly the objects of `uids` at `version`."""

    stream: Stream
    version: str
    uids: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A bookmark: the stream has no other change up to `version`."""

    stream: Stream
    version: str


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """The stream broke and continues by itself. `reason` is "gone" when it lists again, else "broken"."""

    stream: Stream
    reason: str
    detail: str
    version: None = None


Item = Found | Event | Nameless | Listed | Reached | Interrupted


async def follow(api: Api, stream: Stream, version: str | None) -> AsyncIterator[Item]:
    """Yield every change after `version`, or from a new list, without end. InvalidInput for what no retry can mend."""
    backoff = Backoff()
    while True:
        try:
            if version is None:
                async for item in listed(api, stream):
                    yield item
                    version = item.version
                backoff.reset()
            began = time.monotonic()
            async for event in watched(api, stream, str(version), timeout_s=_WATCH_S, idle_s=_IDLE_S):
                version = event.version or version
                yield event
                backoff.reset()
            if time.monotonic() - began < _QUICK_S:
                await asyncio.sleep(backoff.next_s())
        except Gone:
            yield Interrupted(stream=stream, reason="gone", detail=f"the server no longer has version {version}")
            version = None
        except Again as error:
            wait_s = backoff.next_s(at_least_s=error.wait_s)
            detail = f"{error}; trying again in {wait_s:.1f} s"
            yield Interrupted(stream=stream, reason="broken", detail=detail)
            await asyncio.sleep(wait_s)


async def listed(api: Api, stream: Stream) -> AsyncIterator[Found | Nameless | Listed]:
    """Yield the objects that exist, page by page, and the end of the list."""
    while True:
        uids: set[str] = set()
        try:
            async for page in _pages(api, stream):
                for obj in page.objects():
                    uid = _identify(obj)
                    if uid is None:
                        yield Nameless(stream=stream, object=obj)
                        continue
                    uids.add(uid)
                    yield Found(stream=stream, object=obj)
            break
        except Gone:  # the list took so long that its first page is history
            api.note(f"{stream.kind}: the list expired before its last page; listing again")
    yield Listed(stream=stream, version=page.metadata.version, uids=frozenset(uids))


async def watched(
    api: Api, stream: Stream, version: str, *, timeout_s: float, idle_s: float
) -> AsyncIterator[Event | Nameless | Reached]:
    """Yield changes after `version` until the server ends the watch. Gone when it no longer has that version; Again
    when the watch broke.
    """
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
        obj = decode_object(event.object)
        metadata = obj.get("metadata")
        reached = str((metadata.get("resourceVersion") if isinstance(metadata, dict) else None) or version)
        if event.type == "BOOKMARK":
            if is_earlier(reached, version):
                raise Gone  # the server was restored to an older state
            yield Reached(stream=stream, version=reached)
        elif event.type in {"ADDED", "MODIFIED", "DELETED"}:
            if _identify(obj) is None:
                yield Nameless(stream=stream, object=obj, version=reached)
            else:
                yield Event(stream=stream, type=event.type, object=obj, version=reached)  # type: ignore[arg-type]


def is_earlier(version: str, than: str | None) -> bool:
    """Return whether a resourceVersion is earlier than another one of the same kind.

    Versions are decimal numbers that grow (https://kep.k8s.io/5504). Those of a server with other versions have no
    order: none is earlier.
    """
    return than is not None and version.isdecimal() and than.isdecimal() and int(version) < int(than)


def _identify(obj: Object) -> str | None:
    """Return the uid of an object, made of namespace and name where the server gives none; None without a name."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        return None
    metadata["uid"] = str(metadata.get("uid") or f"{metadata.get('namespace')}/{metadata['name']}")
    return str(metadata["uid"])


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

    def objects(self) -> Iterator[Object]:
        """Yield the items, with the kind and apiVersion that typed lists leave out."""
        kind = self.kind.removesuffix("List")
        for raw in self.items or ():
            item = decode_object(raw)
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
            raise InvalidInput(f"{api.access.server}{stream.path} is not a list of objects: {error}") from None
        yield page
        rest = page.metadata.rest
        if not rest:
            return


def _refuse(status: dict[str, Any]) -> None:
    """Raise for an ERROR event: Gone for 410, else Again."""
    if status.get("code") == 410 or status.get("reason") in {"Expired", "Gone"}:
        raise Gone
    seconds = (status.get("details") or {}).get("retryAfterSeconds") or 0
    raise Again(f"server error: {status.get('message') or status.get('reason') or 'unknown'}", wait_s=float(seconds))


class _Resource(msgspec.Struct):
    name: str
    kind: str


class _Resources(msgspec.Struct):
    resources: list[_Resource] = []


async def _named(api: Api, kind: Kind) -> Kind:
    """Return the kind with the name that the API gives it. Missing where the API has no such kind."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    try:
        found = msgspec.json.decode(await api.get(root, kind=kind), type=_Resources)
    except ValueError as error:
        raise InvalidInput(f"{api.access.server}{root} is not a list of resources: {error}") from None
    names = [resource.kind for resource in found.resources if resource.name == kind.plural]
    if not names:
        raise Missing(f"{api.access.server} has no {kind.plural} of {kind.api_version}: check the kind")
    return dataclasses.replace(kind, name=names[0])
