"""Selection of the workloads in one input, each once, and of the objects that are skipped, with the reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from podpower.errors import InvalidInput
from podpower.kubernetes.kinds import WORKLOAD_KINDS
from podpower.kubernetes.limits import MAX_COUNT
from podpower.kubernetes.types import CronJob, Pod, PodTemplate, Workload
from podpower.specs.autoscalers import Autoscaler, read_autoscaler
from podpower.specs.documents import Rejected
from podpower.specs.given import Controllers, Given, Object, counted_part_of, given, without_duplicates
from podpower.specs.kind_names import is_built_in, runs_no_pods
from podpower.specs.lifecycle import end_of
from podpower.specs.normalising import request_from_object
from podpower.specs.quoting import both_ends, quoted
from podpower.specs.requests import InferenceRequest
from podpower.specs.spelling import count_hint, field_hints, kind_hint
from podpower.specs.templates import FoundTemplate, find_templates

SkipCode = Literal["no_pods", "unknown_kind", "part_of", "finished", "no_replicas", "duplicate"]
_MAX_NAME: Final = 253  # of the API server; an input can hold any number of characters
_NODES: Final = "the given number of nodes"
_SHAPES: Final[dict[str, type]] = {"Pod": Pod, "CronJob": CronJob}


class Skipped(msgspec.Struct, kw_only=True, frozen=True):
    """An object of the input that has no prediction of its own, with the reason. `code` is the reason for programs.

    An object of an unknown kind may run pods that are in no sum; all others are accounted for.
    """

    kind: str
    name: str
    namespace: str
    reason: str
    code: SkipCode


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options for reading an input. `cluster` and `node_type` are where workloads run that name none, `nodes` the
    number of pods of a DaemonSet whose status has none. `lenient` reads
    an object with misspelt fields as if they were absent. `running` skips what has ended or has no replicas; without
    it, as for training, only owned objects and duplicates are skipped. More than `max_objects` are refused.
    """

    cluster: str | None = None
    node_type: str | None = None
    nodes: int | None = None
    lenient: bool = False
    running: bool = True
    max_objects: int | None = None


@dataclass(kw_only=True)
class Workloads:
    """Requests in the order of the input, what was skipped, and what could not be read. `repeated` are the positions of
    requests that are given again later: each has a prediction, and only the last one counts in sums.
    """

    requests: list[InferenceRequest] = field(default_factory=list)
    repeated: set[int] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)
    errors: list[Rejected] = field(default_factory=list)

    def add(self, requests: Iterable[InferenceRequest | Rejected], options: Options) -> None:
        """Append InferenceRequests of a file or body."""
        repeats = Repeats(self.repeated)
        for place, known in enumerate(self.requests):
            repeats.note(place, known)
        for request in requests:
            if isinstance(request, Rejected):
                self.errors.append(request)
                continue
            found = with_options(request, options)
            repeats.note(len(self.requests), found)
            self.requests.append(found)

    @property
    def unknown_kinds(self) -> int:
        """Number of objects that can run pods which are in no sum."""
        return sum(entry.code == "unknown_kind" for entry in self.skipped)


class WorkloadIdentity(msgspec.Struct, frozen=True, gc=False):
    """Names of a workload. Not a tuple: garbage collections would look at those of a whole batch."""

    cluster: str | None
    namespace: str
    workload_kind: str
    workload_name: str
    component: str | None

    @classmethod
    def of(cls, request: InferenceRequest) -> "WorkloadIdentity":
        """Return the names of the workload of a request."""
        return cls(request.cluster, request.namespace, request.workload_kind, request.workload_name, request.component)


class Repeats:
    """Finds requests of one workload. `places` are those that are given again later."""

    def __init__(self, places: set[int]) -> None:
        self.places = places
        self._last: dict[WorkloadIdentity, int] = {}

    def note(self, place: int, request: InferenceRequest) -> None:
        """Add a request at its place in the input."""
        name = request.workload_name
        identity = WorkloadIdentity.of(request)
        before = self._last.get(identity)
        if before is not None and name and not name.endswith("*"):
            self.places.add(before)
        self._last[identity] = place


def with_options(request: InferenceRequest, options: Options) -> InferenceRequest:
    """Return a request with the cluster, the machine type and the number of nodes of the options where it has none."""
    changes: dict[str, Any] = {}
    if options.cluster is not None and request.cluster is None:
        changes["cluster"] = options.cluster
    if options.node_type is not None and request.node_type is None:
        changes["node_type"] = options.node_type
    if options.nodes is not None and request.workload_kind == "DaemonSet" and request.replicas is None:
        changes |= {"replicas": options.nodes, "replicas_source": _NODES}
    return msgspec.structs.replace(request, **changes) if changes else request


def select(objects: Iterable[tuple[str, int, Object | Rejected]], options: Options) -> Workloads:
    """Return the workloads among objects, each with its source and its place there.

    An object whose controller is in the input is part of it. Of an object that is given twice the last one counts.
    """
    workloads = Workloads()
    entries = []
    ranks: dict[str, int] = {}
    for source, index, obj in objects:
        ranks.setdefault(source, len(ranks))
        if isinstance(obj, Rejected):
            workloads.errors.append(msgspec.structs.replace(obj, index=index))
        else:
            entries.append(given(obj, source=source, index=index))
    kept, replaced = without_duplicates(entries)
    for entry in replaced:
        workloads.skipped.append(_skipped(entry, "duplicate", "given more than once: the last one counts"))
    _Selector(kept, options, workloads).run()
    workloads.errors.sort(key=lambda error: (ranks[error.source], error.index))
    return workloads


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """Outcome of one object: requests, or the reason why it is skipped, or an error."""

    requests: Sequence[InferenceRequest] = ()
    skip: tuple[SkipCode, str] | None = None
    error: str | None = None

    @property
    def counts(self) -> bool:
        """Return True if this object accounts for its pods."""
        return bool(self.requests) or (self.skip is not None and self.skip[0] in {"finished", "no_replicas"})


class _Selector:
    def __init__(self, entries: Sequence[Given], options: Options, workloads: Workloads) -> None:
        self._entries = entries
        self._options = options
        self._workloads = workloads
        self._controllers = Controllers(entries)
        self._outcomes: dict[int, _Outcome] = {}
        self._autoscalers: dict[tuple[str, str, str], Autoscaler] = {}
        self._targets = {(entry.namespace, entry.kind, entry.name) for entry in entries}

    def run(self) -> None:
        rest = [entry for entry in self._entries if not self._take_autoscaler(entry)]
        for entry in rest:
            controller = counted_part_of(entry, self._controllers, counts=lambda other: self._outcome(other).counts)
            if controller is not None:
                self._skip(entry, "part_of", f"part of {controller.title}")
                continue
            outcome = self._outcome(entry)
            if outcome.error is not None:
                self._fail(entry, outcome.error)
            elif outcome.skip is not None:
                self._skip(entry, *outcome.skip)
            else:
                scaled = (self._scaled(entry, request) for request in outcome.requests)
                self._workloads.requests += [with_options(request, self._options) for request in scaled]

    def _take_autoscaler(self, entry: Given) -> bool:
        try:
            scaler = read_autoscaler(entry.obj, group=entry.group, lenient=self._options.lenient)
        except InvalidInput as error:
            self._fail(entry, str(error))
            return True
        if scaler is None:
            return False
        target = (scaler.namespace, scaler.target_kind, scaler.target_name)
        found = target in self._targets
        if found:
            self._autoscalers.setdefault(target, scaler)
        reason = f"runs no pods; scales {quoted(scaler.target)}" + ("" if found else ", which is not in the input")
        self._skip(entry, "no_pods", reason)
        return True

    def _outcome(self, entry: Given) -> _Outcome:
        if id(entry) not in self._outcomes:
            self._outcomes[id(entry)] = self._read(entry)
        return self._outcomes[id(entry)]

    def _read(self, entry: Given) -> _Outcome:
        try:
            return self._read_kind(entry)
        except InvalidInput as error:
            return _Outcome(error=str(error))

    def _read_kind(self, entry: Given) -> _Outcome:
        options, kind = self._options, entry.kind
        if runs_no_pods(kind, entry.group) or (kind.endswith("List") and kind != "List"):
            return _Outcome(skip=("no_pods", "runs no pods"))
        if kind and not options.lenient and (hint := kind_hint(kind, entry.group)):
            raise InvalidInput(hint)
        ended = end_of(entry.obj)
        if ended is not None and options.running:
            return _Outcome(skip=("finished", f"finished ({ended})"))
        if not kind or (kind in WORKLOAD_KINDS and (is_built_in(entry.group) or _has_standard_template(entry.obj))):
            self._check_fields(entry.obj, _SHAPES.get(kind, Workload))
            self._check_count(entry)
            requests = [request_from_object(entry.obj, cluster=options.cluster)]
        else:
            found, why = find_templates(entry.obj, group=entry.group)
            if why is not None:
                return _Outcome(skip=("unknown_kind", f"unknown kind, which may run pods: {why}"))
            requests = [self._from_template(entry, template, alone=len(found) == 1) for template in found]
        _check_rendered(requests)
        if ended is not None:
            requests = [msgspec.structs.replace(request, state="finished") for request in requests]
        if options.running and kind == "ReplicaSet" and requests[0].replicas == 0:
            return _Outcome(skip=("no_replicas", "has 0 replicas"))
        return _Outcome(requests=requests)

    def _check_fields(self, value: object, shape: type, *, where: str = "") -> None:
        if not self._options.lenient and (hints := field_hints(value, shape, where=where)):
            raise InvalidInput("; ".join(hints))

    def _check_count(self, entry: Given) -> None:
        is_checked = not self._options.lenient and entry.kind in WORKLOAD_KINDS and is_built_in(entry.group)
        if is_checked and (hint := count_hint(entry.kind, entry.obj.get("spec"))):
            raise InvalidInput(hint)

    def _from_template(self, entry: Given, found: FoundTemplate, *, alone: bool) -> InferenceRequest:
        self._check_fields(found.template, PodTemplate, where=f"{found.component}.template.")
        template = {"replicas": found.replicas, "template": found.template}
        # Read as a Deployment: a Job or CronJob of another project has other fields than those of Kubernetes.
        workload = {"kind": "Deployment", "metadata": entry.obj.get("metadata"), "spec": template}
        request = request_from_object(workload, cluster=self._options.cluster, as_kind=entry.kind)
        return msgspec.structs.replace(
            request,
            component=None if alone else found.component,
            replicas=found.replicas,
            replicas_source=found.source or "default",
            replicas_range=found.replicas_range,
            parallelism=found.replicas if entry.kind in {"Job", "CronJob"} else None,
        )

    def _scaled(self, entry: Given, request: InferenceRequest) -> InferenceRequest:
        """Return the request with the scale that other objects of the input, the status or an option give."""
        scaler = self._autoscalers.get((entry.namespace, entry.kind, entry.name))
        if scaler is not None and request.component is None:
            # An autoscaler leaves a workload alone that someone scaled to zero.
            replicas = 0 if request.replicas == 0 else scaler.low
            limits = (scaler.low, scaler.high)
            return msgspec.structs.replace(
                request, replicas=replicas, replicas_source=scaler.name, replicas_range=limits
            )
        if entry.kind == "DaemonSet" and request.replicas is None:
            wanted = _desired_pods(entry.obj)
            if wanted is not None:
                source = "status.desiredNumberScheduled"
                return msgspec.structs.replace(request, replicas=wanted, replicas_source=source)
        return request

    def _skip(self, entry: Given, code: SkipCode, reason: str) -> None:
        self._workloads.skipped.append(_skipped(entry, code, reason))

    def _fail(self, entry: Given, detail: str) -> None:
        named = f"{quoted(entry.kind)} {quoted(entry.name)}: " if entry.kind and entry.name else ""
        detail = both_ends(f"{named}{detail}")
        self._workloads.errors.append(Rejected(source=entry.source, index=entry.index, detail=detail))


def _skipped(entry: Given, code: SkipCode, reason: str) -> Skipped:
    return Skipped(
        kind=quoted(entry.kind, most=_MAX_NAME),
        name=quoted(entry.name, most=_MAX_NAME),
        namespace=quoted(entry.namespace, most=_MAX_NAME),
        reason=reason,
        code=code,
    )


def _has_standard_template(obj: Object) -> bool:
    spec = obj.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    return isinstance(template, dict) and "spec" in template


def _check_rendered(requests: Sequence[InferenceRequest]) -> None:
    for request in requests:
        for container in request.containers:
            if container.image is not None and "{" in container.image:
                image = quoted(container.image, most=60)
                raise InvalidInput(f'the image "{image}" holds a placeholder: render the template first')


def _desired_pods(obj: Object) -> int | None:
    status = obj.get("status")
    wanted = status.get("desiredNumberScheduled") if isinstance(status, dict) else None
    return wanted if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted <= MAX_COUNT else None
