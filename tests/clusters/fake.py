"""A stateful fake of the Kubernetes API server over a real socket: paged lists, watches, compaction, failures."""

import asyncio
import base64
import gzip
import re
import threading
import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Self

import msgspec
from aiohttp import web

_GZIP_FROM = 128 * 1024  # bytes of a body; the real server's threshold, and 1 is its level
_LOG_LIMIT = 200_000  # events kept per resource; then the older half is compacted away
_SNAPSHOT_LIMIT = 64  # lists whose next pages can still be asked for
_BATCH = 256  # events per write of a watch
_DEFAULT_WATCH_S = 1800
_REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 410: "Expired",
    429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip
_BUILTIN = {
    ("", "v1", True): "pods Pod services Service configmaps ConfigMap",
    ("", "v1", False): "nodes Node namespaces Namespace",
    ("apps", "v1", True): "deployments Deployment statefulsets StatefulSet daemonsets DaemonSet replicasets ReplicaSet "
    "controllerrevisions ControllerRevision",
    ("batch", "v1", True): "jobs Job cronjobs CronJob",
}
_FIELDS = {"Pod": ("status.phase", "spec.nodeName"), "Namespace": ("status.phase",)}  # beside metadata.name, .namespace
_TERM = re.compile(r"(!?)\s*([\w./-]+)\s*(?:(==?|!=)\s*([\w.-]*)|\s(in|notin)\s*\((.*)\))?")
_YES = ("1", "true", "True")
_encode, _decode = msgspec.json.encode, msgspec.json.decode


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    params: dict[str, str]
    headers: Mapping[str, str]  # looked up regardless of case
    at: float  # monotonic seconds


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object in one version; its JSON is made once, when it is stored."""

    key: str
    rv: int
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    item: bytes  # as in a list
    full: bytes  # with kind and apiVersion


_Match = Callable[[_Entry], bool]


@dataclass(frozen=True, slots=True)
class _Event:
    verb: str
    entry: _Entry
    old: _Entry | None
    line: bytes


@dataclass(eq=False)
class _Resource:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    typed: bool = False  # lists of built-in kinds leave kind and apiVersion out of the items; custom ones do not
    entries: dict[str, _Entry] = field(default_factory=dict)
    ordered: tuple[list[str], list[_Entry]] | None = None  # keys and entries in etcd's order, until the next change
    log: list[_Event] = field(default_factory=list)
    floor: int = 0  # watches from before this version get 410
    how: str = "status"

    def __post_init__(self) -> None:
        self.api_version = f"{self.group}/{self.version}" if self.group else self.version
        self.full_name = f"{self.plural}.{self.group}" if self.group else self.plural
        self.head = f'{{"kind":"{self.kind}","apiVersion":"{self.api_version}",'.encode()
        self.more_fields = _FIELDS.get(self.kind, ()) if self.typed else ()

    def sorted(self) -> tuple[list[str], list[_Entry]]:
        if self.ordered is None:
            keys = sorted(self.entries)
            self.ordered = keys, [self.entries[key] for key in keys]
        return self.ordered

    def key(self, namespace: str | None, name: str) -> str:
        return f"{(namespace or 'default') if self.namespaced else ''}/{name}"

    def entry(self, obj: Mapping[str, Any], meta: dict[str, Any], rv: int) -> _Entry:
        meta["resourceVersion"] = str(rv)
        rest = {name: value for name, value in obj.items() if name not in ("kind", "apiVersion", "metadata")}
        item = _encode({"metadata": meta, **rest})
        fields = {"metadata.name": meta["name"], "metadata.namespace": meta.get("namespace", "")}
        for path in self.more_fields:
            outer, inner = path.split(".")
            fields[path] = (obj.get(outer) or {}).get(inner) or ""
        full, labels = self.head + item[1:], dict(meta.get("labels") or {})
        return _Entry(
            self.key(meta.get("namespace"), meta["name"]), rv, labels, fields, item if self.typed else full, full
        )

    def renewed(self, old: _Entry, rv: int) -> _Entry:
        obj = _decode(old.full)
        return self.entry(obj, obj["metadata"], rv)


@dataclass(eq=False)
class _Watch:
    resource: _Resource
    prefix: str  # of the keys it sees
    match: _Match | None
    bookmarks: bool
    request: web.BaseRequest
    outbox: list[bytes] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def seen(self, event: _Event) -> bytes | None:
        """The event as this watch gets it: an object that enters its selectors is added, one that leaves is deleted."""
        if not event.entry.key.startswith(self.prefix):
            return None
        if self.match is None:
            return event.line
        now = event.verb != "DELETED" and self.match(event.entry)
        before = event.old is not None and self.match(event.old)
        if event.old and before and not now and event.verb != "DELETED":
            return _line("DELETED", self.resource.renewed(event.old, event.entry.rv).full)
        if now and not before:
            return _line("ADDED", event.entry.full)
        return event.line if before else None


class _Refused(Exception):
    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None, **details: str) -> None:
        super().__init__(message)
        self.code, self.headers = code, headers or {}
        self.body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
        self.body |= {"reason": _REASONS.get(code, "Unknown"), "code": code} | ({"details": details} if details else {})


def _line(verb: str, full: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (verb.encode(), full)


def _number(params: Mapping[str, str], name: str) -> int:
    value = params.get(name) or "0"
    if not value.isdecimal():
        raise _Refused(400, f'Invalid value: "{value}": {name} must be a number')
    return int(value)


def _selection(resource: _Resource, params: Mapping[str, str]) -> _Match | None:
    tests: list[tuple[str, str, bool, set[str] | None]] = []
    for source in ("label", "field"):
        for term in re.split(r",(?![^(]*\))", params.get(f"{source}Selector", "")):
            no, key, op, value, among, values = (
                (found := _TERM.fullmatch(term.strip())) and found.groups() or [None] * 6
            )
            if not term.strip():
                continue
            if not key or (no and (op or among)):
                raise _Refused(400, f'unable to parse requirement: "{term}"')
            if source == "field" and key not in ("metadata.name", "metadata.namespace", *resource.more_fields):
                raise _Refused(400, f"field label not supported: {key}")
            wanted = {value} if op else {value.strip() for value in values.split(",")} if among else None
            tests.append((source + "s", key, bool(no) or op == "!=" or among == "notin", wanted))

    def match(entry: _Entry) -> bool:
        for source, key, negated, wanted in tests:
            value = getattr(entry, source).get(key)
            if (value is not None if wanted is None else value in wanted) == negated:
                return False
        return True

    return match if tests else None


class FakeCluster:
    """`with FakeCluster() as cluster:` serves `cluster.url` from a thread of its own; all methods are thread-safe."""

    def __init__(self, *, token: str | None = None) -> None:
        self.url = ""
        self.token = token
        self.requests: list[Request] = []
        self.page_limit = 500
        self.slow_s = 0.0
        self.clock_skew_s = 0.0
        self.forbidden: set[tuple[str, str | None]] = set()
        self._resources: list[_Resource] = []
        for (group, version, namespaced), words in _BUILTIN.items():
            for plural, kind in zip(words.split()[::2], words.split()[1::2], strict=True):
                self._resources.append(_Resource(group, version, plural, kind, namespaced, typed=True))
        self._rv = 1000
        self._snapshots: dict[tuple[_Resource, int], tuple[list[str], list[_Entry]]] = {}
        self._watches: set[_Watch] = set()
        self._failures: list[tuple[int, dict[str, str], str]] = []
        self._changed = threading.Condition()  # guards all of the above
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fake-cluster", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(10):
            raise TimeoutError("the fake cluster did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def register(self, group: str, version: str, plural: str, kind: str, namespaced: bool = True) -> None:
        with self._changed:
            self._resources.append(_Resource(group, version, plural, kind, namespaced))

    def add(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            resource, entry = self._stored(obj)
            if entry.key in resource.entries:
                raise ValueError(f"{resource.full_name} {entry.key!r} already exists")
            return self._commit(resource, "ADDED", entry)

    def put_many(self, objs: Iterable[Mapping[str, Any]]) -> None:
        """Store without events: open watches never learn of these objects, and watches from before get 410."""
        with self._changed:
            for obj in objs:
                resource, entry = self._stored(obj)
                resource.entries[entry.key] = entry
                resource.ordered, resource.floor = None, self._rv

    def update(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            resource = self._resource(obj["kind"], obj.get("apiVersion"))
            old = resource.entries[resource.key(obj["metadata"].get("namespace"), obj["metadata"]["name"])]
            return self._commit(resource, "MODIFIED", self._stored(obj, _decode(old.full)["metadata"])[1])

    def delete(self, kind: str, namespace: str | None, name: str) -> dict[str, Any]:
        with self._changed:
            resource = self._resource(kind)
            old = resource.entries[resource.key(namespace, name)]
            self._rv += 1
            return self._commit(resource, "DELETED", resource.renewed(old, self._rv))

    def bookmark(self) -> None:
        with self._changed:
            for watch in self._watches:
                if watch.bookmarks:
                    self._send(watch, self._bookmark_line(watch.resource))

    def cut(self, kind: str | None = None, *, mid_line: bool = False) -> None:
        asyncio.run_coroutine_threadsafe(self._cut(kind, mid_line), self._loop).result(10)

    def forget(self, kind: str | None = None, how: str = "status") -> None:
        """Every version seen so far is now too old: 410 as a `status` or as an `event` of the watch."""
        with self._changed:
            self._rv += 1
            for resource in [self._resource(kind)] if kind else self._resources:
                resource.log, resource.floor, resource.how = [], self._rv, how
                self._snapshots = {key: kept for key, kept in self._snapshots.items() if key[0] is not resource}

    def fail_next(self, status: int, *, count: int = 1, headers: dict | None = None, path: str = "") -> None:
        with self._changed:
            self._failures += [(status, {k: str(v) for k, v in (headers or {}).items()}, path)] * count

    def forbid(self, plural: str, verb: str | None = None) -> None:
        with self._changed:
            self.forbidden.add((plural, verb))

    def watches(self, kind: str | None = None) -> int:
        with self._changed:
            return len(self._watches_of(kind))

    def wait_for_watches(self, n: int, timeout: float = 5, kind: str | None = None) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self.watches(kind) >= n, timeout):
                raise TimeoutError(f"{self.watches(kind)} watches are open after {timeout} s, not {n}")

    # The store. Its callers hold the lock.

    def _resource(self, kind: str, api_version: str | None = None) -> _Resource:
        for resource in self._resources:
            if kind in (resource.kind, resource.full_name) and api_version in (None, resource.api_version):
                return resource
        raise KeyError(f"no resource of kind {kind} in {api_version or 'any group'}")

    def _watches_of(self, kind: str | None) -> list[_Watch]:
        resource = self._resource(kind) if kind else None
        return [watch for watch in self._watches if resource in (None, watch.resource)]

    def _stored(self, obj: Mapping[str, Any], was: Mapping[str, Any] | None = None) -> tuple[_Resource, _Entry]:
        resource, meta = self._resource(obj["kind"], obj.get("apiVersion")), dict(obj["metadata"])
        if resource.namespaced:
            meta["namespace"] = meta.get("namespace") or "default"
        born = datetime.fromtimestamp(time.time() + self.clock_skew_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        was = was or {"uid": str(uuid.uuid4()), "creationTimestamp": born}
        meta |= {name: meta.get(name) or was[name] for name in ("uid", "creationTimestamp")}
        self._rv += 1
        return resource, resource.entry(obj, meta, self._rv)

    def _commit(self, resource: _Resource, verb: str, entry: _Entry) -> dict[str, Any]:
        old = resource.entries.pop(entry.key, None)
        if verb != "DELETED":
            resource.entries[entry.key] = entry
        resource.ordered = None
        event = _Event(verb, entry, old, _line(verb, entry.full))
        resource.log.append(event)
        if len(resource.log) > _LOG_LIMIT:
            resource.floor = resource.log[_LOG_LIMIT // 2].entry.rv
            del resource.log[: _LOG_LIMIT // 2 + 1]
        for watch in self._watches:
            if watch.resource is resource and (line := watch.seen(event)):
                self._send(watch, line)
        return _decode(entry.full)

    def _send(self, watch: _Watch, line: bytes) -> None:
        watch.outbox.append(line)
        if len(watch.outbox) == 1:  # otherwise it has been woken already
            self._loop.call_soon_threadsafe(watch.wake.set)

    def _bookmark_line(self, resource: _Resource) -> bytes:
        return _line("BOOKMARK", resource.head + b'"metadata":{"resourceVersion":"%d"}}' % self._rv)

    def _drop(self, watch: _Watch) -> None:
        with self._changed:
            self._watches.discard(watch)
            self._changed.notify_all()

    # The server, in its own thread.

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._started.set()
        await self._stop.wait()
        await self._cut(None, mid_line=False)
        await runner.cleanup()

    async def _cut(self, kind: str | None, mid_line: bool) -> None:
        with self._changed:
            for watch in self._watches_of(kind):
                self._drop(watch)
                if transport := watch.request.transport:
                    if mid_line:
                        transport.write(b'1000\r\n{"type":"MODIFIED","object":' + watch.resource.head + b'"metad')
                    transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        params, body = dict(request.query), await request.read()
        self.requests.append(Request(request.method, request.path, params, request.headers.copy(), time.monotonic()))
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        code, more = 201 if request.method == "POST" else 200, {}
        try:
            with self._changed:
                answer = self._answer(request, params, body)
        except _Refused as refused:
            answer, code, more = _encode(refused.body), refused.code, refused.headers
        if isinstance(answer, _Watch):
            return await self._stream(answer, _number(params, "timeoutSeconds") or _DEFAULT_WATCH_S)
        headers = self._headers() | more
        if len(answer) > _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            answer = gzip.compress(answer, 1, mtime=0)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return web.Response(body=answer, status=code, headers=headers)

    def _headers(self) -> dict[str, str]:
        date = formatdate(time.time() + self.clock_skew_s, usegmt=True)
        return {"Content-Type": "application/json", "Cache-Control": "no-cache, private", "Date": date}

    def _answer(self, request: web.BaseRequest, params: Mapping[str, str], body: bytes) -> bytes | _Watch:
        for i, (code, headers, part) in enumerate(self._failures):
            if part in request.path:
                del self._failures[i]
                raise _Refused(code, "the test asked for this failure", headers)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise _Refused(401, "Unauthorized")
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]:
                review = _decode(body)
                asked = review["spec"].get("resourceAttributes") or {}
                denied = self.forbidden & {(asked.get("resource"), None), (asked.get("resource"), asked.get("verb"))}
                return _encode(review | {"metadata": {}, "status": {"allowed": not denied}})
            case "GET", ["version"]:
                return _encode({"major": "1", "minor": "33", "gitVersion": "v1.33.1", "platform": "linux/amd64"})
            case "GET", ["readyz" | "livez" | "healthz"]:
                return b"ok"
            case "GET", ["api"]:
                return _encode({"kind": "APIVersions", "versions": ["v1"]})
            case "GET", ["apis"]:
                return _encode({"kind": "APIGroupList", "apiVersion": "v1", "groups": self._groups()})
            case "GET", ["api", "v1", *rest]:
                return self._resource_answer(request, params, "v1", rest)
            case "GET", ["apis", group, version, *rest]:
                return self._resource_answer(request, params, f"{group}/{version}", rest)
            case "GET", _:
                raise _Refused(404, "the server could not find the requested resource")
        raise _Refused(405, "the server does not allow this method on the requested resource")

    def _groups(self) -> list[dict[str, Any]]:
        groups: dict[str, list[dict[str, str]]] = {}
        for r in self._resources:
            served = {"groupVersion": r.api_version, "version": r.version}
            if r.group and served not in groups.setdefault(r.group, []):
                groups[r.group].append(served)
        return [{"name": name, "versions": all_, "preferredVersion": all_[0]} for name, all_ in groups.items()]

    def _resource_answer(
        self, request: web.BaseRequest, params: Mapping[str, str], api_version: str, rest: list[str]
    ) -> "bytes | _Watch":
        served = [resource for resource in self._resources if resource.api_version == api_version]
        if not rest and served:
            kinds = [
                {"name": r.plural, "singularName": r.kind.lower(), "namespaced": r.namespaced, "kind": r.kind}
                | {"verbs": ["get", "list", "watch"]}
                for r in served
            ]
            listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": kinds}
            return _encode(listed)
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        resource = next((resource for resource in served if rest[:1] == [resource.plural]), None)
        named = len(rest) > 1
        if (
            not resource
            or len(rest) > 2
            or (namespace and not resource.namespaced)
            or (named and resource.namespaced and not namespace)
        ):
            raise _Refused(404, "the server could not find the requested resource")
        watching = params.get("watch") in ("1", "true", "True")
        self._authorize(resource, "get" if named else "watch" if watching else "list", namespace)
        with self._changed:
            if named:
                if entry := resource.entries.get(f"{namespace}/{rest[1]}"):
                    return entry.full
                about = {"name": rest[1], "group": resource.group, "kind": resource.plural}
                raise _Refused(404, f'{resource.full_name} "{rest[1]}" not found', **about)
            matching = _selection(resource, params)
            if watching:
                return self._watch(request, resource, namespace, matching, params)
            return self._list(resource, namespace, matching, params)

    def _authorize(self, resource: _Resource, verb: str, namespace: str) -> None:
        if self.forbidden & {(resource.plural, None), (resource.plural, verb)}:
            where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            what = f'cannot {verb} resource "{resource.plural}" in API group "{resource.group}"'
            about = {"group": resource.group, "kind": resource.plural}
            raise _Refused(403, f'{resource.full_name} is forbidden: User "x" {what} {where}', **about)

    def _list(self, resource: _Resource, namespace: str, match: _Match | None, params: Mapping[str, str]) -> bytes:
        limit = min(_number(params, "limit"), self.page_limit)
        rv, start = self._rv, f"{namespace}/" if namespace else ""
        if token := params.get("continue"):
            if params.get("resourceVersion", "0") not in ("", "0"):
                raise _Refused(400, "specifying resource version is not allowed when using continue")
            try:
                place = _decode(base64.urlsafe_b64decode(token))
                rv, start = place["rv"], place["start"]
            except (ValueError, KeyError, TypeError) as error:
                raise _Refused(400, f"continue key is not valid: {error}") from error
            if (resource, rv) not in self._snapshots:
                raise _Refused(410, "The provided continue parameter is too old to display a consistent list result.")
            keys, entries = self._snapshots[resource, rv]
        else:
            if (asked := _number(params, "resourceVersion")) > rv:
                raise _Refused(504, f"Too large resource version: {asked}, current: {rv}", {"Retry-After": "1"})
            if params.get("resourceVersion") == "0":
                limit = 0  # such lists come from the real server's cache, which does not page
            keys, entries = resource.sorted()
        at = bisect_left(keys, start)
        end = bisect_left(keys, f"{namespace}0") if namespace else len(keys)  # "0" follows "/"
        picked: list[_Entry] = []
        if match is None:
            picked = entries[at : min(end, at + limit) if limit else end]
            at += len(picked)
        while match is not None and at < end and not (limit and len(picked) == limit):
            if match(entries[at]):
                picked.append(entries[at])
            at += 1
        meta: dict[str, Any] = {"resourceVersion": str(rv)}
        if at < end:
            self._snapshots[resource, rv] = keys, entries
            while len(self._snapshots) > _SNAPSHOT_LIMIT:
                del self._snapshots[next(iter(self._snapshots))]
            meta["continue"] = base64.urlsafe_b64encode(_encode({"rv": rv, "start": keys[at]})).decode()
            if match is None:
                meta["remainingItemCount"] = end - at
        head = resource.head.replace(b'",', b'List",', 1) + b'"metadata":' + _encode(meta) + b',"items":['
        return head + b",".join([entry.item for entry in picked]) + b"]}"

    def _watch(
        self,
        request: web.BaseRequest,
        resource: _Resource,
        namespace: str,
        match: _Match | None,
        params: Mapping[str, str],
    ) -> _Watch:
        since = _number(params, "resourceVersion")
        bookmarks = params.get("allowWatchBookmarks") in ("1", "true", "True")
        watch = _Watch(resource, namespace, match, bookmarks, request.transport, [])  # type: ignore[arg-type]
        if not since:
            entries = (e for e in resource.sorted()[1] if namespace in ("", e.namespace) and (not match or match(e)))
            watch.outbox = [_line("ADDED", entry.full) for entry in entries]
        elif since >= resource.floor:
            events = resource.log[bisect_right(resource.log, since, key=lambda event: event.rv) :]
            watch.outbox = [line for event in events if (line := _seen(resource, event, namespace, match))]
        else:
            expired = _Refused(410, f"too old resource version: {since} ({resource.floor})")
            if resource.how == "status":
                raise expired
            watch.outbox = [_line("ERROR", _encode(expired.body))]
            return watch  # never registered: it ends after this one event
        self._watches.add(watch)
        self._changed.notify_all()
        return watch

    async def _stream(self, request: web.BaseRequest, params: Mapping[str, str], watch: _Watch) -> web.StreamResponse:
        response = web.StreamResponse(headers=self._headers({}))
        deadline = self._loop.time() + (_number(params, "timeoutSeconds") or _DEFAULT_WATCH_S)
        timer = self._loop.call_at(deadline, watch.wake.set)
        try:
            await response.prepare(request)
            while True:
                watch.wake.clear()
                with self._changed:
                    lines, watch.outbox = watch.outbox, []
                    live, late = watch in self._watches, self._loop.time() >= deadline
                    if live and late:
                        self._drop(watch)
                        lines += [self._bookmark_line(watch.resource)] if watch.bookmarks else []
                for i in range(0, len(lines), _BATCH):
                    await response.write(b"".join(lines[i : i + _BATCH]))
                if late or not live:
                    await response.write_eof()
                    return response
                await watch.wake.wait()
        finally:
            timer.cancel()
            self._drop(watch)
