"""Owner chains of pods and the templates that made them, by the ownerReferences of known objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from podpower.kubernetes.kinds import TEMPLATE_HOLDERS

MAX_CHAIN = 8  # Pod -> Job -> CronJob is 3; custom controllers add a few; a cycle never ends
_MOST_OWNERS = 10_000  # that are remembered
_SCALE = ("replicas", "parallelism", "completions", "suspend", "volumeClaimTemplates")
_TIMING = ("schedule", "timeZone", "suspend", "concurrencyPolicy")  # of a CronJob

Object = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TopOwner:
    """Top owner of a pod, and the object whose pod template made it (None: only the pod itself shows it).

    `template_object` reads like a workload manifest of the top owner: its kind and names around the exact template.
    """

    kind: str
    name: str
    template_object: dict[str, Any] | None


class Objects:
    """The objects of a cluster at one time, by uid."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Object] = {}
        self._revisions: dict[tuple[str, str], Object] = {}  # ControllerRevisions by owner uid and revision hash
        self._owners: dict[tuple[Any, ...], tuple[list[Any], TopOwner]] = {}  # what it was made of, and the owner

    def put(self, obj: Object) -> None:
        """Add the present form of an object."""
        metadata = obj.get("metadata") or {}
        self._by_uid[metadata.get("uid", "")] = obj
        if obj.get("kind") == "ControllerRevision" and (owner := controller_of(obj)):
            self._revisions[owner.get("uid", ""), _revision_hash(metadata)] = obj

    def remove(self, obj: Object) -> None:
        """Remove a deleted object."""
        metadata = obj.get("metadata") or {}
        self._by_uid.pop(metadata.get("uid", ""), None)
        if obj.get("kind") == "ControllerRevision" and (owner := controller_of(obj)):
            self._revisions.pop((owner.get("uid", ""), _revision_hash(metadata)), None)

    def get(self, uid: str) -> Object | None:
        """Return the object of this uid."""
        return self._by_uid.get(uid)

    def top_owner(self, pod: Object) -> TopOwner:
        """Return the top owner and template of a pod. A missing owner ends the chain with its reference.

        Pods of one template get the same owner object, as long as nothing above them changes.
        """
        metadata = pod.get("metadata") or {}
        owner = controller_of(pod)
        if owner is None:
            return TopOwner(kind="Pod", name=str(metadata.get("name")), template_object=None)
        direct = self._by_uid.get(owner.get("uid", ""))
        kind, name, top = str(owner.get("kind")), str(owner.get("name")), direct
        seen: set[str | None] = set()
        chain: list[Any] = [direct]
        while top is not None and len(seen) < MAX_CHAIN:
            above = controller_of(top)
            if above is None or above.get("uid") in seen:
                break
            seen.add(above.get("uid"))
            kind, name = str(above.get("kind")), str(above.get("name"))
            top = self._by_uid.get(above.get("uid", ""))
            chain.append(top)
        template = self._template(pod, direct)
        if template is None:
            return TopOwner(kind=kind, name=name, template_object=None)
        chain.append(template)
        key = (metadata.get("namespace"), *map(id, chain))  # objects are replaced, never changed
        known = self._owners.get(key)
        if known is not None:
            return known[1]
        made = TopOwner(
            kind=kind, name=name, template_object=_as_workload(kind, name, template, top or direct or {}, metadata)
        )
        if len(self._owners) >= _MOST_OWNERS:
            self._owners.clear()
        self._owners[key] = chain, made  # which keeps the objects, and so their ids, alive
        return made

    def _template(self, pod: Object, direct: Object | None) -> Any:
        """Return the template of the ReplicaSet or Job, or of the ControllerRevision that the pod names."""
        if direct is None:
            return None
        if direct.get("kind") in TEMPLATE_HOLDERS:
            return (direct.get("spec") or {}).get("template")
        metadata = pod.get("metadata") or {}
        uid = (direct.get("metadata") or {}).get("uid", "")
        revision = self._revisions.get((uid, (metadata.get("labels") or {}).get("controller-revision-hash", "")))
        if revision is None:
            return None
        return ((revision.get("data") or {}).get("spec") or {}).get("template")


class OwnerMemo(Generic[T]):
    """Remembers one value for each owner object that `Objects.top_owner` returns."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[TopOwner, T]] = {}

    def get(self, owner: TopOwner) -> T | None:
        """Return the value of an owner; None where there is none."""
        found = self._values.get(id(owner))
        return found[1] if found else None

    def put(self, owner: TopOwner, value: T) -> None:
        """Remember a value. An owner without a template is of one pod only, and not remembered."""
        if owner.template_object is not None:
            if len(self._values) >= _MOST_OWNERS:
                self._values.clear()
            self._values[id(owner)] = owner, value  # which keeps the owner, and so its id, alive


def controller_of(obj: Object) -> Mapping[str, Any] | None:
    """Return the owner reference with `controller: true`."""
    for reference in (obj.get("metadata") or {}).get("ownerReferences") or ():
        if reference.get("controller"):
            return reference  # type: ignore[no-any-return]
    return None


def _revision_hash(metadata: Mapping[str, Any]) -> str:
    labels = metadata.get("labels") or {}
    return str(labels.get("controller-revision-hash") or labels.get("controller.kubernetes.io/hash") or "")


def _as_workload(kind: str, name: str, template: Any, top: Object, pod_metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest of the top owner around this template, with the present scale and claims of the owner."""
    outer = spec = top.get("spec") or {}
    if kind == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    body: dict[str, Any] = {**{k: spec[k] for k in _SCALE if k in spec}, "template": template}
    metadata = {"name": name, "namespace": pod_metadata.get("namespace")}
    whole = body
    if kind == "CronJob":
        whole = {**{k: outer[k] for k in _TIMING if k in outer}, "jobTemplate": {"spec": body}}
    return {"kind": kind, "metadata": metadata, "spec": whole}
