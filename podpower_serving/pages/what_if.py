"""Workloads with other replicas, CPU and memory, as the sliders of the page set them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from podpower.difference.changes import difference
from podpower.difference.tables import sentence
from podpower.features.columns import requested_cpu_mcpu
from podpower.impact.assessment import Assessment, Inputs, assess
from podpower.impact.tables import name_of
from podpower.kubernetes.kinds import JOB_KINDS
from podpower.kubernetes.limits import MAX_CPU_MCPU, MAX_MEMORY_MIB
from podpower.model.predictor import Prediction, Predictor
from podpower.model.workload_energy import pods_at_a_time
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import Workloads
from podpower_serving.pages.forms import MOST_DOUBLINGS, Sliders

MOST_NAMES: Final = 100
_SOURCE: Final = "the slider"
# Of a pod that requests nothing, the sliders begin here.
_UNSET_CPU_MCPU, _UNSET_MEMORY_MIB = 250.0, 256.0


@dataclass(frozen=True, kw_only=True)
class Slider:
    """One slider: its range, its position, and the amount at that position as text."""

    name: str
    label: str
    least: int
    most: int
    value: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Sliders of one workload, and the names of the workloads to choose from. `effect` is what they change, as a
    sentence. `of` names the manifest they belong to, `redrawn` is True where those on the page belong to another one.
    """

    names: Sequence[tuple[str, str]]
    workload: str
    sliders: Sequence[Slider]
    effect: str | None
    of: str
    redrawn: bool


def moved(
    predictor: Predictor, workloads: Workloads, found: Assessment, given: Sliders, inputs: Inputs
) -> tuple[Assessment, Controls | None]:
    """Return the assessment with the sliders applied, and the sliders; None where there is no workload."""
    if not found.requests:
        return found, None
    order = _largest(found.predictions)
    keys = [_key(request) for request in found.requests]
    place = next((place for place in order if keys[place] == given.workload), order[0])
    request = found.requests[place]
    of = _digest(keys, request)
    if given.of != of:
        given = Sliders(workload=keys[place], draw_again=True)
    changed = _changed(request, given)
    effect, after = None, found
    if changed != request:
        requests = [*found.requests[:place], changed, *found.requests[place + 1 :]]
        after = assess(predictor, replace(workloads, requests=requests), inputs)
        effect = sentence(difference(predictor, found, after).answer(inputs))
    controls = Controls(
        names=[(keys[one], name_of(_named(found.requests[one]))) for one in order[:MOST_NAMES]],
        workload=keys[place],
        sliders=_sliders(request, changed, given),
        effect=effect,
        of=of,
        redrawn=given.draw_again,
    )
    return after, controls


def _largest(predictions: Sequence[Prediction]) -> list[int]:
    return sorted(range(len(predictions)), key=lambda place: -(predictions[place].total_avg_power_w or 0.0))


def _key(request: InferenceRequest) -> str:
    return "/".join((request.namespace, request.workload_kind, request.workload_name, request.component or ""))


def _named(request: InferenceRequest) -> dict[str, Any]:
    return {
        "namespace": request.namespace, "workload_name": request.workload_name, "component": request.component,
    }  # fmt: skip


def _digest(keys: Sequence[str], request: InferenceRequest) -> str:
    """Return a name of the workloads and the chosen one as the manifest describes it."""
    content = msgspec.json.encode([sorted(keys), request])
    return hashlib.sha256(content).hexdigest()[:16]


def _changed(request: InferenceRequest, given: Sliders) -> InferenceRequest:
    changes: dict[str, Any] = {}
    if given.replicas is not None and given.replicas != pods_at_a_time(request):
        field = "parallelism" if request.workload_kind in JOB_KINDS else "replicas"
        changes |= {field: given.replicas, "replicas_source": _SOURCE, "replicas_range": None}
    request = msgspec.structs.replace(request, **changes) if changes else request
    if given.cpu:
        request = _scaled(request, "cpu_mcpu", 2.0 ** (given.cpu / 2), unset=_UNSET_CPU_MCPU, most=MAX_CPU_MCPU)
    if given.memory:
        request = _scaled(request, "mem_mib", 2.0 ** (given.memory / 2), unset=_UNSET_MEMORY_MIB, most=MAX_MEMORY_MIB)
    return request


def _scaled(request: InferenceRequest, what: str, factor: float, *, unset: float, most: float) -> InferenceRequest:
    """Return the request with all requests and limits of a resource scaled; the first container gets one where none
    has any.
    """

    def times(value: float | None) -> float | None:
        return None if value is None else min(most, value * factor)

    names = (f"req_{what}", f"lim_{what}")
    containers = [
        msgspec.structs.replace(c, **{name: times(getattr(c, name)) for name in names}) for c in request.containers
    ]
    pod = {f"pod_{name}": times(getattr(request, f"pod_{name}")) for name in names}
    if not any(getattr(c, name) for c in containers for name in names) and not any(pod.values()):
        containers[0] = msgspec.structs.replace(containers[0], **{names[0]: min(most, unset * factor)})
    return msgspec.structs.replace(request, containers=containers, **pod)


def _memory_mib(request: InferenceRequest) -> float | None:
    known = [c.req_mem_mib for c in request.containers if c.req_mem_mib is not None]
    return request.pod_req_mem_mib if request.pod_req_mem_mib is not None else sum(known) if known else None


def _sliders(request: InferenceRequest, changed: InferenceRequest, given: Sliders) -> list[Slider]:
    as_is, pods = pods_at_a_time(request), pods_at_a_time(changed)
    job = request.workload_kind in JOB_KINDS
    replicas = Slider(
        name="replicas", label="Pods at a time" if job else "Replicas", least=0, most=max(10, 4 * as_is, pods),
        value=pods, text=f"{pods}" + ("" if pods == as_is else f" (manifest: {as_is})"),
    )  # fmt: skip
    amounts = [
        (
            "cpu",
            "CPU request of a pod",
            given.cpu,
            _cpu(requested_cpu_mcpu(request)),
            _cpu(requested_cpu_mcpu(changed)),
        ),
        ("memory", "Memory request of a pod", given.memory, _mib(_memory_mib(request)), _mib(_memory_mib(changed))),
    ]
    scaled = [
        Slider(
            name=name, label=label, least=-MOST_DOUBLINGS, most=MOST_DOUBLINGS, value=value,
            text=f"{after} (manifest: {before})" if value else after,
        )
        for name, label, value, before, after in amounts
    ]  # fmt: skip
    return scaled if request.workload_kind == "Pod" else [replicas, *scaled]


def _cpu(mcpu: float | None) -> str:
    return "none" if mcpu is None else f"{mcpu:.0f}m" if mcpu < 1000 else f"{mcpu / 1000:.3g}"


def _mib(mib: float | None) -> str:
    return "none" if mib is None else f"{mib:.3g}Mi" if mib < 1000 else f"{mib / 1024:.3g}Gi"
