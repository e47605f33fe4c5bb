"""Requests of the workloads that changed objects belong to. Owners are fetched from the API where needed."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from podpower.errors import InvalidInput
from podpower.kubernetes.kinds import KINDS, Kind
from podpower.kubernetes.owners import MAX_CHAIN, Objects, OwnerMemo, controller_of
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import Found, Stream, listed
from podpower.specs.essentials import essential
from podpower.specs.normalising import NotAWorkload, request_from_object
from podpower.specs.requests import InferenceRequest

_MOST_SINGLY = 10  # owners of a kind in a namespace; then all of them are listed
_MOST_KEPT = 50_000  # owners; then all of them are fetched again: each run of a CronJob has one


class Workloads:
    """Finds the workload of an object. `watched` are the kinds of the streams: what they own gives no request."""

    def __init__(self, api: Api, watched: tuple[Kind, ...]) -> None:
        self._api = api
        self._watched = {(kind.group, kind.name) for kind in watched}
        self._objects = Objects()
        self._requests = OwnerMemo[InferenceRequest]()
        # Uid of what was found by path and the uid of it or its owner, "" where nothing was: names are used again.
        self._fetched: dict[tuple[str, str], str] = {}
        self._singly = Counter[str]()  # owners fetched one by one, by the path of their kind and namespace
        self._plurals: dict[tuple[str, str], str | None] = {}

    async def request(self, obj: Mapping[str, Any]) -> InferenceRequest | None:
        """Return the request, or None where the object's owner is watched too, or the object runs no pods. InvalidInput
        when it cannot be read.
        """
        reference = controller_of(obj)
        cluster = self._api.access.cluster
        try:
            if reference is None:
                return request_from_object(obj, cluster=cluster)
            if (_group(reference), reference.get("kind")) in self._watched:
                return None
            self._forget_many()
            await self._fetch_owners(obj)
            owner = self._objects.top_owner(obj)
            if known := self._requests.get(owner):
                return known
            metadata = {**(obj.get("metadata") or {}), "name": owner.name}
            source = owner.template_object or {**obj, "metadata": metadata}
            request = request_from_object(source, cluster=cluster, as_kind=owner.kind)
        except NotAWorkload:
            return None
        self._requests.put(owner, request)
        return request

    def _forget_many(self) -> None:
        """Forget all owners once there are very many."""
        if len(self._fetched) > _MOST_KEPT:
            self._objects = Objects()
            self._fetched.clear()
            self._singly.clear()

    async def _fetch_owners(self, obj: Mapping[str, Any]) -> None:
        """Fetch the owners of an object, and the revision that made it."""
        namespace = str((obj.get("metadata") or {}).get("namespace") or "")
        reference = controller_of(obj)
        below: Mapping[str, Any] = obj
        for _ in range(MAX_CHAIN):
            if reference is None or reference.get("kind") == "Node":  # the node of a static pod has no template
                return
            if (kind := KINDS.get(str(reference.get("kind")))) and kind.revisions:
                await self._fetch_revision(below, reference, namespace)
            found = await self._fetch_reference(reference, namespace)
            if found is None:
                return
            below, reference = found, controller_of(found)

    async def _fetch_revision(self, pod: Mapping[str, Any], owner: Mapping[str, Any], namespace: str) -> None:
        hashed = ((pod.get("metadata") or {}).get("labels") or {}).get("controller-revision-hash")
        if not hashed:
            return
        # A StatefulSet's pods name the revision, a DaemonSet's only its hash.
        name = hashed if str(hashed).startswith(f"{owner.get('name')}-") else f"{owner.get('name')}-{hashed}"
        path = f"{KINDS['ControllerRevision'].path(namespace)}/{name}"
        await self._fetch((path, str(owner.get("uid"))), "ControllerRevision", "apps/v1")

    async def _fetch_reference(self, reference: Mapping[str, Any], namespace: str) -> Mapping[str, Any] | None:
        kind, version = str(reference.get("kind")), str(reference.get("apiVersion"))
        plural = await self._plural(kind, version)
        if plural is None:
            return None
        group, _, short = version.rpartition("/")
        stream = Stream(kind=Kind(group=group, version=short, plural=plural, name=kind), namespace=namespace or None)
        key = f"{stream.path}/{reference.get('name')}", str(reference.get("uid"))
        if key not in self._fetched:
            self._singly[stream.path] += 1
            if self._singly[stream.path] == _MOST_SINGLY:
                await self._fetch_all(stream)
        return await self._fetch(key, kind, version)

    async def _fetch_all(self, stream: Stream) -> None:
        """Fetch all owners of a kind in a namespace at once, but those without pods. Where that is not allowed they are
        fetched one by one.
        """
        try:
            async for item in listed(self._api, stream):
                if isinstance(item, Found) and (item.object.get("spec") or {}).get("replicas") != 0:
                    metadata = item.object["metadata"]
                    self._keep((f"{stream.path}/{metadata['name']}", str(metadata.get("uid"))), item.object)
        except InvalidInput as error:
            self._api.note(f"owners {stream.path}: {error}; fetching them one by one")

    async def _fetch(self, key: tuple[str, str], kind: str, version: str) -> Mapping[str, Any] | None:
        if key in self._fetched:
            return self._objects.get(self._fetched[key])
        self._fetched[key], path = "", key[0]
        try:
            obj = msgspec.json.decode(await self._api.get(path))
        except (InvalidInput, ValueError) as error:
            self._api.note(f"owner {path}: {error}")
            return None
        return self._keep(key, {"kind": kind, "apiVersion": version, **obj})

    def _keep(self, key: tuple[str, str], obj: Mapping[str, Any]) -> Mapping[str, Any]:
        kept = essential(obj)
        self._objects.put(kept)
        self._fetched[key] = str(kept["metadata"].get("uid", ""))
        return kept

    async def _plural(self, kind: str, version: str) -> str | None:
        if kind in KINDS and KINDS[kind].api_version == version:
            return KINDS[kind].plural
        if (kind, version) not in self._plurals:
            self._plurals[kind, version] = None
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            try:
                resources = msgspec.json.decode(await self._api.get(root)).get("resources") or []
            except (InvalidInput, ValueError) as error:
                self._api.note(f"owner {kind} {version}: {error}")
                return None
            names = [r["name"] for r in resources if r.get("kind") == kind and "/" not in r["name"]]
            self._plurals[kind, version] = names[0] if names else None
        return self._plurals[kind, version]


def _group(reference: Mapping[str, Any]) -> str:
    return str(reference.get("apiVersion", "")).rpartition("/")[0]
