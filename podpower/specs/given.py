"""Objects of one input and their relations: duplicates, and objects that another one made."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podpower.kubernetes.owners import controller_of
from podpower.specs.kind_names import group_of, is_built_in
from podpower.specs.quoting import quoted

Object = Mapping[str, Any]

# Groups that held a kind before the group that holds it now.
_FORMER_GROUPS: Final = {"extensions": "apps"}
_RUN_SUFFIX: Final = re.compile(r"-\d{8,}")  # a CronJob's Job is named after the minute of its run
_HASH_LABELS: Final = ("pod-template-hash", "rollouts-pod-template-hash")


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """An object and its place in the input."""

    source: str
    index: int
    obj: Object
    kind: str
    group: str | None
    namespace: str
    name: str
    uid: str

    @property
    def title(self) -> str:
        """Kind/name for messages, of bounded length."""
        return f"{quoted(self.kind)}/{quoted(self.name)}" if self.name else quoted(self.kind)


def given(obj: Object, *, source: str, index: int) -> Given:
    """Return the object with its names; names of a wrong type count as missing."""
    metadata = obj.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    generated = _text(metadata.get("generateName"))
    return Given(
        source=source,
        index=index,
        obj=obj,
        kind=_text(obj.get("kind")),
        group=group_of(obj.get("apiVersion")),
        namespace=_text(metadata.get("namespace")) or "default",
        name=_text(metadata.get("name")) or (f"{generated}*" if generated else ""),
        uid=_text(metadata.get("uid")),
    )


def without_duplicates(objects: Sequence[Given]) -> tuple[list[Given], list[Given]]:
    """Return each object once, and the objects that a later one of the same kind, namespace and name replaces, as
    `kubectl apply` would. An object without a name is never a duplicate.
    """
    last: dict[object, Given] = {}
    for entry in objects:
        last[_identity(entry)] = entry
    kept = [entry for entry in objects if last[_identity(entry)] is entry]
    return kept, [entry for entry in objects if last[_identity(entry)] is not entry]


def _identity(entry: Given) -> object:
    if not entry.name or entry.name.endswith("*"):
        return (entry.source, entry.index, id(entry))
    group = "" if is_built_in(entry.group) else entry.group  # a kind of Kubernetes is in one group at a time
    return (group, entry.kind, entry.namespace, entry.name)


class Controllers:
    """Finds the controller of an object among the objects of the input."""

    def __init__(self, objects: Iterable[Given]) -> None:
        self._by_uid: dict[str, Given] = {}
        self._by_name: dict[tuple[str, str, str], list[Given]] = {}
        for entry in objects:
            if entry.uid:
                self._by_uid.setdefault(entry.uid, entry)
            if entry.name:
                self._by_name.setdefault((entry.kind, entry.namespace, entry.name), []).append(entry)

    def of(self, entry: Given) -> Given | None:
        """Return the controller by uid, else by kind, name and namespace. Where the ReplicaSet or Job of a Pod is not
        in the input, return its Deployment, Rollout or CronJob by the name in the reference and the template hash in
        the labels.
        """
        reference = _controller(entry.obj)
        if reference is None:
            return None
        uid, kind, name = (_text(reference.get(field)) for field in ("uid", "kind", "name"))
        found = self._by_uid.get(uid) if uid else None
        if found is None:
            found = self._named(kind, entry.namespace, name, uid=uid, group=group_of(reference.get("apiVersion")))
        if found is None:
            found = self._beyond(entry, kind, name)
        return None if found is entry else found

    def _named(self, kind: str, namespace: str, name: str, *, uid: str, group: str | None) -> Given | None:
        for candidate in self._by_name.get((kind, namespace, name), ()):
            another = bool(uid and candidate.uid)  # equal ones were found by uid: this one was made anew
            if not another and _same_group(candidate.group, group):
                return candidate
        return None

    def _beyond(self, entry: Given, kind: str, name: str) -> Given | None:
        if kind == "ReplicaSet":
            labels = (entry.obj.get("metadata") or {}).get("labels")
            for label in _HASH_LABELS:
                suffix = f"-{_text(labels.get(label))}" if isinstance(labels, Mapping) else "-"
                if len(suffix) > 1 and name.endswith(suffix):
                    above = name.removesuffix(suffix)
                    return self._first(("Deployment", "Rollout"), entry.namespace, above)
        if kind == "Job" and (match := _RUN_SUFFIX.search(name)) and match.end() == len(name):
            return self._first(("CronJob",), entry.namespace, name[: match.start()])
        return None

    def _first(self, kinds: Sequence[str], namespace: str, name: str) -> Given | None:
        return next((found[0] for kind in kinds if (found := self._by_name.get((kind, namespace, name)))), None)


def counted_part_of(entry: Given, controllers: Controllers, *, counts: Callable[[Given], bool]) -> Given | None:
    """Return the controller that an object is part of, where that one is counted itself. Circular references count."""
    controller = controllers.of(entry)
    if controller is None or not counts(controller):
        return None
    seen = {id(entry)}
    above: Given | None = controller
    while above is not None:
        if id(above) in seen:
            return None
        seen.add(id(above))
        above = controllers.of(above)
    return controller


def _same_group(one: str | None, other: str | None) -> bool:
    return one is None or other is None or _FORMER_GROUPS.get(one, one) == _FORMER_GROUPS.get(other, other)


def _controller(obj: Object) -> Object | None:
    metadata = obj.get("metadata")
    references = metadata.get("ownerReferences") if isinstance(metadata, Mapping) else None
    if not isinstance(references, list) or not all(isinstance(reference, Mapping) for reference in references):
        return None
    return controller_of(obj)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
