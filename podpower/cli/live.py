"""Live objects of a cluster: those that manifests name, and all workloads of namespaces."""

import argparse
import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from podpower.cli.connections import open_cluster
from podpower.errors import InvalidInput
from podpower.kubernetes.kinds import KINDS, Kind
from podpower.specs.quoting import quoted

if TYPE_CHECKING:
    from podpower.cli.inputs import File
    from podpower.sources.kubernetes.access import Access
    from podpower.specs.selection import Options, Workloads

_AT_A_TIME = 8
_NAME = re.compile("[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
_LIVE = "the live object"
_HPA = Kind(group="autoscaling", version="v2", plural="horizontalpodautoscalers", name="HorizontalPodAutoscaler")


def live_side(
    arguments: argparse.Namespace, files: "Sequence[File]", new: "Workloads", options: "Options"
) -> "tuple[Workloads, Workloads]":
    """Return the live objects that files name, and the workloads of the files with live replicas where they name none.

    An object that does not run yet is absent from the first.
    """
    from podpower.specs.documents import Rejected, read_objects  # noqa: PLC0415

    named = set()
    unscaled = set()  # what names no replicas keeps those of the cluster, as `kubectl apply` keeps them
    for file in files:
        for obj in () if isinstance(file, Rejected) else read_objects(file[0], source=file[1]):
            if isinstance(obj, dict) and isinstance(obj.get("metadata"), dict):
                kind = _HPA if obj.get("kind") == _HPA.name else KINDS.get(str(obj.get("kind")))
                name = obj["metadata"].get("name")
                namespace = obj["metadata"].get("namespace") or arguments.namespace or "default"
                if kind is not None and isinstance(name, str) and isinstance(namespace, str):
                    named.add((kind, namespace, name))
                    spec = obj.get("spec")
                    if kind.count == "replicas" and isinstance(spec, dict) and "replicas" not in spec:
                        unscaled.add((namespace, kind.name, name))
    ordered = sorted(named, key=lambda one: (one[0].key, *one[1:]))
    old = workloads_from(asyncio.run(_got(open_cluster(arguments), ordered)), options)
    here = arguments.namespace
    if here:  # what names no namespace is read as of "default"
        new.requests = [
            msgspec.structs.replace(request, namespace=here) if request.namespace == "default" else request
            for request in new.requests
        ]
    running = {_name(request): request for request in old.requests}
    for place, request in enumerate(new.requests):
        live = running.get(_name(request))
        if live is not None and _name(request)[:3] in unscaled and request.replicas_range is None:
            new.requests[place] = msgspec.structs.replace(request, replicas=live.replicas, replicas_source=_LIVE)
    return old, new


def workloads_from(objects: Sequence[dict[str, Any]], options: "Options") -> "Workloads":
    """Return the workloads among live objects."""
    from podpower.specs.manifests import read_manifests  # noqa: PLC0415

    return read_manifests(msgspec.json.encode(list(objects)), source="the cluster", options=options)


def listed(
    access: "Access", kinds: Sequence[Kind], *, namespace: str | None, selector: str | None
) -> list[dict[str, Any]]:
    """Return all objects of these kinds in a namespace, in all where it is None. InvalidInput for a name that no
    namespace has.
    """
    if namespace is not None and not _NAME.fullmatch(namespace):
        raise InvalidInput(f"{quoted(namespace)!r} is not a namespace: use a-z, 0-9 and -")
    return asyncio.run(_listed(access, kinds, namespace, selector))


def got(access: "Access", kind: Kind, *, namespace: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return objects by name; those that do not exist are left out."""
    return asyncio.run(_got(access, [(kind, namespace, name) for name in names]))


async def _got(access: "Access", named: Sequence[tuple[Kind, str, str]]) -> list[dict[str, Any]]:
    from podpower.sources.kubernetes.api import Api, Missing  # noqa: PLC0415

    limit = asyncio.Semaphore(_AT_A_TIME)
    async with Api(access) as api:

        async def one(kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
            if not (_NAME.fullmatch(name) and _NAME.fullmatch(namespace)):
                return None  # no cluster has it, and in the path of a request it could name another object
            async with limit:
                try:
                    body = await api.get(f"{kind.path(namespace)}/{name}", kind=kind)
                except Missing:
                    return None
            return _with_kind(msgspec.json.decode(body), kind)

        found = await asyncio.gather(*(one(*of) for of in named))
    return [obj for obj in found if obj is not None]


async def _listed(
    access: "Access", kinds: Sequence[Kind], namespace: str | None, selector: str | None
) -> list[dict[str, Any]]:
    from podpower.sources.kubernetes.api import PAGE, Api  # noqa: PLC0415

    found: list[dict[str, Any]] = []
    async with Api(access) as api:
        for kind in kinds:
            token = ""
            while True:
                parameters: dict[str, str | int] = {"limit": PAGE}
                parameters |= {"continue": token} if token else {}
                parameters |= {"labelSelector": selector} if selector else {}
                page = msgspec.json.decode(await api.get(kind.path(namespace), parameters, kind=kind))
                found += [_with_kind(item, kind) for item in page.get("items") or ()]
                token = (page.get("metadata") or {}).get("continue") or ""
                if not token:
                    break
    return found


def _with_kind(obj: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """Return an object with the kind and version that items of a list leave out."""
    return {**obj, "apiVersion": kind.api_version, "kind": obj.get("kind") or kind.name}


def _name(request: Any) -> tuple[str | None, ...]:
    return (request.namespace, request.workload_kind, request.workload_name, request.component)
