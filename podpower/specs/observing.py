"""Objects over time into observations: the templates of workloads in force, and the pods that they made."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from podpower.errors import InvalidInput
from podpower.kubernetes.kinds import WORKLOAD_KINDS
from podpower.kubernetes.owners import Objects, OwnerMemo, controller_of
from podpower.kubernetes.times import parse_time
from podpower.sources.protocols import ObjectEvent
from podpower.specs.documents import Rejected
from podpower.specs.hashing import spec_hash
from podpower.specs.normalising import request_from_object
from podpower.specs.requests import InferenceRequest

_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(kw_only=True)
class ObservedPod:
    """A pod and the Unix seconds between which it ran; `to_s` None while it runs."""

    pod: str
    uid: str
    from_s: float
    to_s: float | None = None
    node: str | None = None
    outcome: str | None = None  # "succeeded", "failed" or "deleted"; None while it runs


@dataclass(kw_only=True)
class Observation:
    """A template of a workload, the times between which it was in force (None: still), and the pods that it made."""

    request: InferenceRequest
    spec_hash: str
    observed_from_s: float
    observed_to_s: float | None = None
    pods: list[ObservedPod] = field(default_factory=list)


def observe(
    events: Iterable[ObjectEvent], *, start_s: float, end_s: float, cluster: str | None = None
) -> tuple[list[Observation], list[Rejected]]:
    """Return the templates in force at any time in [start_s, end_s), by workload and time, and rejected objects.

    `events` are those of `ObjectSource.events` for that time. Pods of a replaced template keep it in force as long as
    they run; a change of scale alone is no new observation.
    """
    watcher = _Watcher(cluster)
    for event in events:
        if event.ts < end_s:
            watcher.apply(event)
    found = [o for o in watcher.observations() if o.observed_to_s is None or o.observed_to_s > start_s]
    for observation in found:
        observation.pods = [p for p in observation.pods if p.to_s is None or p.to_s > start_s]
        observation.pods.sort(key=lambda p: (p.pod, p.from_s))
    found.sort(key=lambda o: (o.request.namespace, o.request.workload_kind, o.request.workload_name, o.observed_from_s))
    return found, watcher.rejected


_Key = tuple[str, str, str, str]  # namespace, kind, name, spec hash
_Read = tuple[InferenceRequest, str]  # and its hash


class _Watcher:
    """Folds events. A workload's own object opens an observation of its template; so does a pod of any template."""

    def __init__(self, cluster: str | None) -> None:
        self._cluster = cluster
        self._objects = Objects()
        self._of_owner = OwnerMemo[_Read]()
        self._open: dict[_Key, Observation] = {}
        self._closed: list[Observation] = []
        self._current: dict[str, _Key] = {}  # uid of a workload's own object -> its template now in force
        self._current_keys: Counter[_Key] = Counter()
        self._pods: dict[str, tuple[_Key, ObservedPod]] = {}  # uid of a running pod
        self._ended: set[str] = set()  # uids of pods that have ended
        self.rejected: list[Rejected] = []

    def observations(self) -> list[Observation]:
        return [*self._closed, *self._open.values()]

    def apply(self, event: ObjectEvent) -> None:
        obj = event.object
        kind = obj.get("kind")
        deleted = event.type == "DELETED"
        if kind == "Pod":
            phase = (obj.get("status") or {}).get("phase")
            outcome = phase.lower() if phase in _ENDED else "deleted" if deleted else None
            self._pod(obj, event.ts, outcome=outcome)
        elif kind in WORKLOAD_KINDS and controller_of(obj) is None:
            self._workload(obj, event.ts, gone=deleted)
        if deleted:
            self._objects.remove(obj)
        else:
            self._objects.put(obj)

    def _workload(self, obj: Mapping[str, Any], ts: float, *, gone: bool) -> None:
        uid = (obj.get("metadata") or {}).get("uid", "")
        before = self._current.pop(uid, None)
        key = None
        if not gone and (read := self._read_hashed(obj)):
            key = self._begin(*read, ts)
            self._current[uid] = key
            self._current_keys[key] += 1
        if before is not None:
            self._current_keys[before] -= 1
            self._end_if_idle(before, ts)

    def _pod(self, obj: Mapping[str, Any], ts: float, *, outcome: str | None) -> None:
        metadata = obj.get("metadata") or {}
        uid = str(metadata.get("uid", ""))
        if uid in self._pods:
            _, pod = self._pods[uid]
            pod.node = pod.node or (obj.get("spec") or {}).get("nodeName")
            if outcome:
                self._end(uid, ts, outcome)
            return
        from_s = ts
        if outcome:
            made_s = parse_time(metadata.get("creationTimestamp"))
            if uid in self._ended or made_s is None:
                return  # nothing shows when it began
            from_s = min(made_s, ts)
        owner = self._objects.top_owner(obj)
        source = owner.template_object or {**obj, "metadata": {**metadata, "name": owner.name}}
        read = self._of_owner.get(owner) or self._read_hashed(source, as_kind=owner.kind)
        if read is None:
            return
        self._of_owner.put(owner, read)
        key = self._begin(*read, from_s)
        node = (obj.get("spec") or {}).get("nodeName")
        pod = ObservedPod(pod=str(metadata.get("name")), uid=uid, from_s=from_s, node=node)
        self._open[key].pods.append(pod)
        self._pods[uid] = (key, pod)
        if outcome:  # it ended before anything was seen of it
            self._end(uid, ts, outcome)

    def _end(self, uid: str, ts: float, outcome: str) -> None:
        key, pod = self._pods.pop(uid)
        pod.to_s, pod.outcome = ts, outcome
        self._ended.add(uid)
        self._end_if_idle(key, ts)

    def _read_hashed(self, obj: Mapping[str, Any], *, as_kind: str | None = None) -> _Read | None:
        request = self._read(obj, as_kind=as_kind)
        return None if request is None else (request, spec_hash(request))

    def _read(self, obj: Mapping[str, Any], *, as_kind: str | None = None) -> InferenceRequest | None:
        try:
            return request_from_object(obj, cluster=self._cluster, as_kind=as_kind)
        except InvalidInput as error:
            metadata = obj.get("metadata") or {}
            name = f"{obj.get('kind')} {metadata.get('namespace')}/{metadata.get('name')}"
            self.rejected.append(Rejected(source=name, index=len(self.rejected), detail=str(error)))
            return None

    def _begin(self, request: InferenceRequest, hashed: str, ts: float) -> _Key:
        key = (request.namespace, request.workload_kind, request.workload_name, hashed)
        observation = self._open.get(key)
        if observation is None:
            self._open[key] = Observation(request=request, spec_hash=hashed, observed_from_s=ts)
        else:
            observation.request = request  # the same template, perhaps another scale
        return key

    def _end_if_idle(self, key: _Key, ts: float) -> None:
        observation = self._open.get(key)
        running = observation is not None and any(pod.to_s is None for pod in observation.pods)
        if observation is not None and not running and not self._current_keys[key]:
            observation.observed_to_s = ts
            self._closed.append(self._open.pop(key))
