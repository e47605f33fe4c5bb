"""Fields that differ between two specs of a workload, in words."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from podpower.features.columns import limited_to, requested_cpu_mcpu
from podpower.model.workload_energy import pods_at_a_time
from podpower.specs.quoting import quoted
from podpower.specs.requests import InferenceRequest

_MOST: Final = 5
_TEMPLATE: Final = "other parts of the pod template"


def differences(old: InferenceRequest, new: InferenceRequest) -> list[str]:
    """Return what is different and can change the energy, such as `replicas 2 -> 5`; at most five entries."""
    found = []
    for name, value in _FIELDS:
        before, after = value(old), value(new)
        if before != after:
            found.append(f"{name} {_shown(before)} -> {_shown(after)}")
    if old.template_digest != new.template_digest or _words(old) != _words(new):
        found.append(_TEMPLATE)
    return found[:_MOST]


def _shown(value: Any) -> str:
    return "none" if value is None else quoted(value) if isinstance(value, str) else f"{value:g}"


def _images(request: InferenceRequest) -> Sequence[str]:
    return [container.image or "" for container in request.containers]


def _words(request: InferenceRequest) -> Any:
    return [(container.name, container.command, container.args) for container in request.containers]


def _joined_images(request: InferenceRequest) -> str:
    return ", ".join(sorted(_images(request)))


def _requested_memory(request: InferenceRequest) -> float | None:
    known = [container.req_mem_mib for container in request.containers if container.req_mem_mib is not None]
    return request.pod_req_mem_mib if request.pod_req_mem_mib is not None else sum(known) if known else None


_FIELDS: Final[Sequence[tuple[str, Callable[[InferenceRequest], Any]]]] = (
    ("replicas", pods_at_a_time),
    ("image", _joined_images),
    ("CPU request (m)", requested_cpu_mcpu),
    ("memory request (MiB)", _requested_memory),
    ("CPU limit (m)", lambda request: limited_to(request, "lim_cpu_mcpu")),
    ("memory limit (MiB)", lambda request: limited_to(request, "lim_mem_mib")),
    ("GPUs", lambda request: request.gpu_count),
    ("GPU", lambda request: request.gpu_model),
    ("completions", lambda request: request.completions),
    ("schedule", lambda request: request.schedule),
    ("state", lambda request: request.state),
    ("node type", lambda request: request.node_type),
    ("runtime class", lambda request: request.runtime_class),
    ("containers", lambda request: len(request.containers)),
    ("sidecars", lambda request: request.sidecar_count),
    ("init containers", lambda request: request.init_container_count),
    ("volumes", lambda request: ", ".join(sorted(request.volume_types)) or None),
)
