"""A stateful fake of the Kubernetes API server over a real socket: paged lists, watches, compaction, failures."""

import asyncio
import gzip
import re
import threading
import time
import uuid
from base64 import b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Self

import msgspec
import yaml
from aiohttp import web

_REASONS = {410: "Expired", 500: "InternalError", 504: "Timeout"}  # of the others, the HTTP phrase without spaces
_BUILTIN = """Pod Service ConfigMap Node Namespace apps/Deployment apps/StatefulSet apps/DaemonSet apps/ReplicaSet
apps/ControllerRevision batch/Job batch/CronJob"""
_FIELDS = {
    "Pod": ("status.phase", "spec.nodeName"),
    "Namespace": ("status.phase",),
    "Event": ("involvedObject.name",),
}  # beside name and namespace
_TERM = re.compile(r"(!(?!.*[=(]))?\s*([\w./-]+)(?:\s*(==?|!=|\s(?:not)?in(?=\s*\())\s*\(?([^()]*)\)?)?")
_LINE = b'{"type":"%s","object":%s}\n'  # of a watch
_encode, _decode = msgspec.json.encode, msgspec.json.decode
_Match = Callable[["_Entry"], bool]
_Event = tuple[bytes, "_Entry", "_Entry | None"]  # the verb, the object, and what it was before


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    params: dict[str, str]
    headers: Mapping[str, str]  # looked up regardless of case
    at: float  # monotonic seconds


@dataclass(frozen=True, slots=True)
class _Entry:  # one object in one version; its JSON is made once, when it is stored
    key: str
    rv: int
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    item: bytes  # as in a list
    full: bytes  # with kind and apiVersion


class _Refused(Exception):
    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None, **details: str) -> None:
        self.code, self.headers = code, headers or {}
        reason = _REASONS.get(code) or HTTPStatus(code).phrase.replace(" ", "")
        self.body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
        self.body |= {"reason": reason, "details": details, "code": code}


def _merged(old: Any, patch: Any) -> Any:
    """A merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merged(kept.get(name), value)
    return kept


@dataclass(eq=False)
class _Resource:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    typed: bool = False  # lists of built-in kinds leave kind and apiVersion out of the items; custom ones do not
    entries: dict[str, _Entry] = field(default_factory=dict)
    ordered: tuple[list[str], list[_Entry]] | None = None  # keys and entries in etcd's order, until the next change
    log: list[_Event] = field(default_factory=list)
    floor: int = 0  # watches from before this version get 410
    how: str = "status"

    def __post_init__(self) -> None:
        self.api_version = f"{self.group}/{self.version}" if self.group else self.version
        self.root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        self.full_name = f"{self.plural}.{self.group}" if self.group else self.plural
        self.head = f'{{"kind":"{self.kind}","apiVersion":"{self.api_version}",'.encode()
        one = rf"/{self.plural}(?:/([^/]+)(?:/(status|log))?)?"
        inside = rf"(?:/{self.plural}|/namespaces/([^/]+){one})" if self.namespaced else f"(){one}"
        self.path = re.compile(re.escape(self.root) + inside)
        self.fields = {p: p.split(".") for p in ("metadata.name", "metadata.namespace", *_FIELDS.get(self.kind, ()))}

    def sorted(self) -> tuple[list[str], list[_Entry]]:
        if self.ordered is None:
            keys = sorted(self.entries)
            self.ordered = keys, [self.entries[key] for key in keys]
        return self.ordered

    def key(self, namespace: str | None, name: str) -> str:
        return f"{(namespace or 'default') if self.namespaced else ''}/{name}"

    def entry(self, obj: Mapping[str, Any], rv: int) -> _Entry:
        meta = obj["metadata"] | {"resourceVersion": str(rv)}
        obj = {"metadata": meta} | {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata")}
        item = _encode(obj)
        full = self.head + item[1:]
        fields = {path: (obj.get(a) or {}).get(b) or "" for path, (a, b) in self.fields.items()}
        key, labels = self.key(meta.get("namespace"), meta["name"]), dict(meta.get("labels") or {})
        return _Entry(key, rv, labels, fields, item if self.typed else full, full)

    def selection(self, namespace: str, params: Mapping[str, str]) -> _Match:
        tests = [("fields", "metadata.namespace", {namespace}, True)] if namespace else []
        for source, selector in (("labels", params.get("labelSelector")), ("fields", params.get("fieldSelector"))):
            for term in re.split(r",(?![^(]*\))", selector) if selector else ():
                found = _TERM.fullmatch(term.strip())
                if not found or (source == "fields" and (found[2] not in self.fields or not found[3])):
                    raise _Refused(400, f'unable to parse requirement, or not supported: "{term}"')
                no, key, op, values = found.groups()
                wanted = {value.strip() for value in values.split(",")} if op else {None}  # none: without the label
                tests.append((source, key, wanted, op.strip() not in ("!=", "notin") if op else bool(no)))
        return lambda entry: all((getattr(entry, s).get(key) in wanted) == yes for s, key, wanted, yes in tests)


def _unversioned(obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {name: v for name, v in obj["metadata"].items() if name != "resourceVersion"}}


@dataclass(eq=False)
class _Watch:
    request: web.BaseRequest
    resource: _Resource
    match: _Match
    bookmarks: bool
    deadline: float
    outbox: list[bytes] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def line(self, event: _Event) -> bytes | None:
        """The event as this watch gets it: an object that enters its selectors is added, one that leaves is deleted."""
        verb, entry, old = event
        now, before = verb != b"DELETED" and self.match(entry), old is not None and self.match(old)
        if old and before and not now and verb != b"DELETED":
            entry = self.resource.entry(_decode(old.full), entry.rv)
        verb = (b"MODIFIED" if before else b"ADDED") if now else b"DELETED"
        return _LINE % (verb, entry.full) if now or before else None


class FakeCluster:
    """`with FakeCluster() as cluster:` serves `cluster.url` from a thread of its own; all methods are thread-safe."""

    def __init__(self, *, token: str | None = None) -> None:
        self.url, self.token, self.uid = "", token, str(uuid.uuid4())  # uid: of the namespace kube-system
        self.requests: list[Request] = []
        self.page_limit, self.slow_s, self.clock_skew_s = 500, 0.0, 0.0
        self.longest_watch_s = float("inf")  # a server ends watches as soon as it likes
        self.forbidden: set[tuple[str, str | None]] = set()
        self.authorize: Callable[[Request], str | None] = lambda _request: None  # why a request is forbidden
        self.logs: Callable[[str, str], str] = lambda _namespace, _name: ""  # of a pod
        self.outage: int | None = None  # every request fails with this status; 0: its connection is cut
        kinds = [word.rpartition("/")[::2] for word in _BUILTIN.split()]  # those with N belong to no namespace
        self._resources = [_Resource(g, "v1", f"{k.lower()}s", k, k[0] != "N", typed=True) for g, k in kinds]
        self._rv = 1000
        self._pages: dict[str, tuple[_Resource, int, tuple[list[str], list[_Entry]], int]] = {}
        self._watches: set[_Watch] = set()
        self._failures: list[tuple[int, dict[str, str], str]] = []
        self._changed = threading.Condition(threading.RLock())  # guards all of the above
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-cluster", daemon=True)
        server = web.Server(self._handle, loop=self._loop, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.5)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._runner.setup())
        self._run(web.TCPSite(self._runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def register(self, group: str, version: str, plural: str, kind: str, namespaced: bool = True) -> None:
        self._resources.append(_Resource(group, version, plural, kind, namespaced))

    def add(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            resource, entry = self._stored(obj)
            if entry.key in resource.entries:
                raise ValueError(f"{resource.full_name} {entry.key!r} already exists")
            return self._commit(resource, b"ADDED", entry)

    def put_many(self, objs: Iterable[Mapping[str, Any]]) -> None:
        """Store without events: open watches never learn of these objects, and watches from before get 410."""
        with self._changed:
            for obj in objs:
                resource, entry = self._stored(obj)
                resource.entries[entry.key] = entry
                resource.ordered, resource.floor = None, self._rv

    def update(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            resource, meta = self._resource(obj["kind"], obj.get("apiVersion")), obj["metadata"]
            old = resource.entries[resource.key(meta.get("namespace"), meta["name"])]
            was = _decode(old.full)
            new = self._stored(obj, was["metadata"])[1]
            if _unversioned(_decode(new.full)) == _unversioned(was):  # the real server writes nothing either
                self._rv -= 1
                return was
            return self._commit(resource, b"MODIFIED", new)

    def delete(self, kind: str, namespace: str | None, name: str, *, gracefully: bool = False) -> dict[str, Any]:
        """Delete an object; `gracefully` marks it first, as the real server does with pods and finalizers."""
        with self._changed:
            resource = self._resource(kind)
            old = resource.entries[resource.key(namespace, name)]
            if gracefully:
                marked = _decode(old.full)
                marked["metadata"]["deletionTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                self.update(marked)
                old = resource.entries[resource.key(namespace, name)]
            self._rv += 1
            return self._commit(resource, b"DELETED", resource.entry(_decode(old.full), self._rv))

    def objects(self, kind: str) -> list[dict[str, Any]]:
        with self._changed:
            return [_decode(entry.full) for entry in self._resource(kind).sorted()[1]]

    @property
    def version(self) -> int:
        """The resourceVersion of the last change."""
        with self._changed:
            return self._rv

    def backup(self) -> tuple[int, list[dict[str, _Entry]]]:
        with self._changed:
            return self._rv, [dict(resource.entries) for resource in self._resources]

    def restore(self, backup: tuple[int, list[dict[str, _Entry]]]) -> None:
        """Set the cluster back to an older state, as a restore of etcd does: versions begin again from there."""
        with self._changed:
            self._rv, entries = backup
            self._pages = {}
            for resource, alive in zip(self._resources, entries, strict=True):
                resource.entries, resource.ordered = dict(alive), None
                resource.log = [event for event in resource.log if event[1].rv <= self._rv]
        self.cut()

    def rebuild(self) -> None:
        """Replace the cluster by an empty one under the same address: another UID, and versions from the beginning."""
        with self._changed:
            self.uid, self._rv, self._pages = str(uuid.uuid4()), 1, {}
            for resource in self._resources:
                resource.entries, resource.ordered, resource.log, resource.floor = {}, None, [], 0
        self.cut()

    def bookmark(self) -> None:
        with self._changed:
            for watch in [watch for watch in self._watches if watch.bookmarks]:
                watch.outbox.append(self._bookmark_line(watch.resource))
                self._loop.call_soon_threadsafe(watch.wake.set)

    def cut(self, kind: str | None = None, *, mid_line: bool = False) -> None:
        async def abort() -> None:
            with self._changed:
                for watch in [watch for watch in self._watches if kind in (None, watch.resource.kind)]:
                    self._watches.discard(watch)
                    if transport := watch.request.transport:
                        transport.write(b'1000\r\n{"type":"MODIFIED","object":{"kind' if mid_line else b"")
                        transport.abort()

        self._run(abort())

    def forget(self, kind: str | None = None, how: str = "status") -> None:
        """Every version seen so far is now too old: 410 as a `status` or as an `event` of the watch."""
        with self._changed:
            self._rv += 1
            for resource in [self._resource(kind)] if kind else self._resources:
                resource.log, resource.floor, resource.how = [], self._rv, how
                self._pages = {token: page for token, page in self._pages.items() if page[0] is not resource}

    def fail_next(self, status: int, *, count: int = 1, headers: dict | None = None, path: str = "") -> None:
        self._failures += [(status, {k: str(v) for k, v in (headers or {}).items()}, path)] * count

    def forbid(self, plural: str, verb: str | None = None) -> None:
        self.forbidden.add((plural, verb))

    def watches(self, kind: str | None = None) -> int:
        with self._changed:
            return sum(kind in (None, watch.resource.kind) for watch in self._watches)

    def wait_for_watches(self, n: int, timeout: float = 60, kind: str | None = None) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self.watches(kind) >= n, timeout):
                raise TimeoutError(f"{self.watches(kind)} watches are open after {timeout} s, not {n}")

    def _resource(self, kind: str, api_version: str | None = None) -> _Resource:
        for resource in self._resources:
            if kind in (resource.kind, resource.full_name) and api_version in (None, resource.api_version):
                return resource
        raise KeyError(f"no resource of kind {kind} in {api_version or 'any group'}")

    def _stored(self, obj: Mapping[str, Any], was: Mapping[str, Any] | None = None) -> tuple[_Resource, _Entry]:
        resource, meta = self._resource(obj["kind"], obj.get("apiVersion")), dict(obj["metadata"])
        if resource.namespaced:
            meta["namespace"] = meta.get("namespace") or "default"
        born = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.clock_skew_s))
        was = was or {"uid": str(uuid.uuid4()), "creationTimestamp": born}
        meta |= {name: meta.get(name) or was[name] for name in ("uid", "creationTimestamp")}
        self._rv += 1
        return resource, resource.entry({**obj, "metadata": meta}, self._rv)

    def _commit(self, resource: _Resource, verb: bytes, entry: _Entry) -> dict[str, Any]:
        resource.ordered, event = None, (verb, entry, resource.entries.pop(entry.key, None))
        if verb != b"DELETED":
            resource.entries[entry.key] = entry
        resource.log.append(event)
        for watch in self._watches:
            if watch.resource is resource and (line := watch.line(event)):
                watch.outbox.append(line)
                self._loop.call_soon_threadsafe(watch.wake.set)
        return _decode(entry.full)

    def _bookmark_line(self, resource: _Resource) -> bytes:
        return _LINE % (b"BOOKMARK", resource.head + b'"metadata":{"resourceVersion":"%d"}}' % self._rv)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body, asked = await request.read(), request.headers.copy()
        noted = Request(request.method, request.path, dict(request.query), asked, time.monotonic())
        self.requests.append(noted)
        await asyncio.sleep(self.slow_s)
        if self.outage == 0 and request.transport:
            request.transport.abort()
            raise ConnectionResetError
        code, headers = 201 if request.method == "POST" else 200, {"Content-Type": "application/json"}
        try:
            self._check(noted)
            with self._changed:
                answer = self._answer(request, body)
        except (_Refused, ValueError) as error:
            refused = error if isinstance(error, _Refused) else _Refused(400, str(error))
            answer, code, headers = _encode(refused.body), refused.code, headers | refused.headers
        headers["Date"] = formatdate(time.time() + self.clock_skew_s, usegmt=True)
        if isinstance(answer, _Watch):
            return await self._stream(answer, headers)
        if len(answer) > 128 * 1024 and "gzip" in asked.get("Accept-Encoding", ""):  # as the real server does
            answer = gzip.compress(answer, 1, mtime=0)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return web.Response(body=answer, status=code, headers=headers)

    def _check(self, request: Request) -> None:
        if self.outage:
            raise _Refused(self.outage, "the server is out of order")
        if reason := self.authorize(request):
            raise _Refused(403, reason)

    def _answer(self, request: web.BaseRequest, body: bytes) -> bytes | _Watch:
        for failure in [failure for failure in self._failures if failure[2] in request.path]:
            self._failures.remove(failure)
            raise _Refused(failure[0], "the test asked for this failure", failure[1])
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise _Refused(401, "Unauthorized")
        if request.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" and request.method == "POST":
            asked = (review := _decode(body))["spec"].get("resourceAttributes") or {}
            denied = self.forbidden & {(asked.get("resource"), verb) for verb in (None, asked.get("verb"))}
            return _encode(review | {"metadata": {}, "status": {"allowed": not denied}})
        if request.method in ("POST", "PUT", "PATCH", "DELETE"):
            return self._written(request, body)
        if request.method != "GET":
            raise _Refused(405, "the server does not allow this method on the requested resource")
        for resource in self._resources:
            if found := resource.path.fullmatch(request.path):
                answer = self._serve(request, resource, found[1] or "", found[2])
                return self.logs(found[1], found[2]).encode() if found[3] == "log" else answer
        if not (known := self._discovery().get(request.path)):
            raise _Refused(404, "the server could not find the requested resource")
        return _encode(known)

    def _written(self, request: web.BaseRequest, body: bytes) -> bytes:
        """An object made, replaced or deleted over HTTP, as kubectl does it."""
        for resource in self._resources:
            if not (found := resource.path.fullmatch(request.path)):
                continue
            namespace, name = found[1] or "", found[2]
            if request.method == "DELETE":
                if f"{namespace}/{name}" not in resource.entries:
                    raise _Refused(404, f'{resource.full_name} "{name}" not found')
                return _encode(self.delete(resource.kind, namespace, name))
            sent = self._patched(request, resource, body) if request.method == "PATCH" else _decode(body)
            obj = {**sent, "kind": resource.kind, "apiVersion": resource.api_version}
            if resource.namespaced:
                obj["metadata"] = {**obj["metadata"], "namespace": namespace}
            if resource.kind == "Job":
                obj.setdefault("status", {})
            if texts := obj.pop("stringData", None):
                obj["data"] = obj.get("data", {}) | {
                    key: b64encode(text.encode()).decode() for key, text in texts.items()
                }
            self._check_version(resource, request.method, obj["metadata"])
            is_new = f"{namespace}/{name or obj['metadata']['name']}" not in resource.entries
            return _encode(self.add(obj) if request.method == "POST" or is_new else self.update(obj))
        raise _Refused(404, "the server could not find the requested resource")

    def _patched(self, request: web.BaseRequest, resource: _Resource, body: bytes) -> dict[str, Any]:
        """The object after a patch; one that is applied is as it was sent, whoever else has fields of it."""
        found = resource.path.fullmatch(request.path)
        entry = resource.entries.get(f"{found[1] or ''}/{found[2]}") if found else None
        if "apply-patch" in request.headers.get("Content-Type", ""):
            applied: dict[str, Any] = yaml.safe_load(body)
            return applied
        if entry is None:
            raise _Refused(404, f"{resource.full_name} not found")
        return dict(_merged(_decode(entry.full), _decode(body)))

    def _check_version(self, resource: _Resource, method: str, meta: Mapping[str, Any]) -> None:
        """Refuse a second object of a name, a change of what is not there, and one of an older version."""
        old = resource.entries.get(resource.key(meta.get("namespace"), meta["name"]))
        if method == "POST" and old:
            raise _Refused(409, f'{resource.full_name} "{meta["name"]}" already exists')
        if method == "PUT" and not old:
            raise _Refused(404, f'{resource.full_name} "{meta["name"]}" not found')
        if method == "PUT" and old and meta.get("resourceVersion", str(old.rv)) != str(old.rv):
            raise _Refused(409, "the object has been modified; please apply your changes to the latest version")

    def _discovery(self) -> dict[str, Any]:
        known: dict[str, Any] = {"/readyz": msgspec.Raw(b"ok"), "/api": {"kind": "APIVersions", "versions": ["v1"]}}
        known["/version"] = {"major": "1", "minor": "33", "gitVersion": "v1.33.1"}
        groups: dict[str, Any] = {}
        for r in self._resources:
            listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": r.api_version, "resources": []}
            one = {"name": r.plural, "singularName": r.kind.lower(), "namespaced": r.namespaced, "kind": r.kind}
            known.setdefault(r.root, listed)["resources"].append(one | {"verbs": ["get", "list", "watch"]})
            # Enough for clients that leave it to the server to validate fields.
            patch = {
                "x-kubernetes-group-version-kind": {"group": r.group, "version": r.version, "kind": r.kind},
                "parameters": [{"name": "fieldValidation", "in": "query"}],
            }
            schema = known.setdefault(f"/openapi/v3{r.root}", {"openapi": "3.0.0", "paths": {}})
            schema["paths"][f"{r.root}/{r.plural}/{{name}}"] = {"patch": patch}
            served = {"groupVersion": r.api_version, "version": r.version}
            group = groups.setdefault(r.group, {"name": r.group, "versions": [], "preferredVersion": served})
            group["versions"] += [served] if served not in group["versions"] else []
        named = list(groups.values())[1:]  # without the core group, which is the first
        schemas = [path for path in known if path.startswith("/openapi/v3/")]
        known["/openapi/v3"] = {
            "paths": {path.removeprefix("/openapi/v3/"): {"serverRelativeURL": path} for path in schemas}
        }
        known["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
        return known

    def _serve(self, request: web.BaseRequest, resource: _Resource, namespace: str, name: str) -> bytes | _Watch:
        params = request.query
        verb = "get" if name else "watch" if params.get("watch") in ("1", "true") else "list"
        about = {"name": name or "", "group": resource.group, "kind": resource.plural}
        if self.forbidden & {(resource.plural, None), (resource.plural, verb)}:
            what = f'cannot {verb} resource "{resource.plural}" in API group "{resource.group}"'
            where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            raise _Refused(403, f'{resource.full_name} is forbidden: User "x" {what} {where}', **about)
        if name == "kube-system" and resource.kind == "Namespace" and f"/{name}" not in resource.entries:
            return _encode({"metadata": {"name": name, "uid": self.uid, "resourceVersion": "1"}})
        if name:
            if not (entry := resource.entries.get(f"{namespace}/{name}")):
                raise _Refused(404, f'{resource.full_name} "{name}" not found', **about)
            return entry.full
        match = resource.selection(namespace, params)
        if verb == "list":
            return self._list(resource, namespace, match, params)
        since, seconds = int(params.get("resourceVersion") or 0), int(params.get("timeoutSeconds") or 0) or 1800
        bookmarks = params.get("allowWatchBookmarks") in ("1", "true")
        deadline = self._loop.time() + min(seconds, self.longest_watch_s)
        watch = _Watch(request, resource, match, bookmarks, deadline)
        if since and since < resource.floor:
            expired = _Refused(410, f"too old resource version: {since} ({resource.floor})")
            if resource.how == "status":
                raise expired
            watch.outbox = [_LINE % (b"ERROR", _encode(expired.body))]
            return watch  # it is not among the open ones: it ends after this event
        events: list[_Event] = resource.log[bisect_right(resource.log, since, key=lambda event: event[1].rv) :]
        if not since:
            events = [(b"ADDED", entry, None) for entry in resource.sorted()[1]]
        watch.outbox = [line for event in events if (line := watch.line(event))]
        self._watches.add(watch)
        self._changed.notify_all()
        return watch

    def _list(self, resource: _Resource, namespace: str, match: _Match, params: Mapping[str, str]) -> bytes:
        rv, (keys, entries), at = self._rv, resource.sorted(), 0
        if token := params.get("continue"):
            if token not in self._pages:
                raise _Refused(410, "The provided continue parameter is too old to display a consistent list result.")
            _, rv, (keys, entries), at = self._pages[token]
        paged = params.get("resourceVersion") != "0"  # the real server answers 0 from its cache, which does not page
        limit = (paged and min(int(params.get("limit") or 0), self.page_limit)) or len(keys)
        at = at or bisect_left(keys, f"{namespace}/" if namespace else "")
        end = bisect_left(keys, f"{namespace}0") if namespace else len(keys)  # "0" follows "/"
        picked: list[_Entry] = []
        while at < end and len(picked) < limit:
            picked += [entries[at]] if match(entries[at]) else []
            at += 1
        meta: dict[str, Any] = {"resourceVersion": str(rv)}
        if at < end:
            meta["continue"] = uuid.uuid4().hex
            self._pages[meta["continue"]] = resource, rv, (keys, entries), at
            self._pages = dict(list(self._pages.items())[-256:])  # they hold old versions of the objects
            meta |= {} if params.keys() & {"labelSelector", "fieldSelector"} else {"remainingItemCount": end - at}
        head = resource.head.replace(b'",', b'List",', 1) + b'"metadata":' + _encode(meta) + b',"items":['
        return head + b",".join([entry.item for entry in picked]) + b"]}"

    async def _stream(self, watch: _Watch, headers: Mapping[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        self._loop.call_at(watch.deadline, watch.wake.set)
        try:
            await response.prepare(watch.request)
            while True:
                watch.wake.clear()
                with self._changed:
                    live, late = watch in self._watches, self._loop.time() >= watch.deadline
                    if live and late:
                        self._watches.discard(watch)
                        watch.outbox += [self._bookmark_line(watch.resource)] if watch.bookmarks else []
                    lines, watch.outbox = watch.outbox, []
                for i in range(0, len(lines), 256):
                    await response.write(b"".join(lines[i : i + 256]))
                if late or not live:
                    await response.write_eof()
                    return response
                await watch.wake.wait()
        except ConnectionResetError:
            return response  # cut, or the client is gone
        finally:
            with self._changed:
                self._watches.discard(watch)
