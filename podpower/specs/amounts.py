"""CPU and memory of containers and of whole pods: what the API server and the kubelet make of a manifest's amounts.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from podpower.errors import InvalidInput
from podpower.kubernetes.quantities import NotAQuantity, cpu_mcpu, memory_mib
from podpower.kubernetes.types import KubeContainer, PodSpec, Resources
from podpower.specs.quoting import quoted
from podpower.specs.requests import Container
from podpower.specs.sidecars import is_native

_FIELDS: Final = (("cpu", "cpu_mcpu"), ("memory", "mem_mib"))


def container_amounts(container: KubeContainer, *, where: str) -> dict[str, Any]:
    """Return the fields of `Container` with amounts; a missing request is the limit."""
    resources = container.resources
    requests = (resources.requests if resources else None) or {}
    limits = (resources.limits if resources else None) or {}
    amounts: dict[str, Any] = {}
    for name, field in _FIELDS:
        limit = _amount(limits, name, where=f"{where}.resources.limits")
        request = _amount(requests, name, where=f"{where}.resources.requests")
        amounts |= {f"req_{field}": limit if request is None else request, f"lim_{field}": limit}
    return amounts


def pod_amounts(
    pod: PodSpec, containers: Sequence[Container], beside: Sequence[Container], *, where: str
) -> dict[str, Any]:
    """Return the pod's effective amounts, where they are not the sum of the containers'; else None.

    `beside` are the native sidecars. Pods that have limits of their own and lack a request get what their containers
    request, or else the limit. A pod is limited only where each container is.
    """
    level = pod.resources
    requests, limits = (level and level.requests) or {}, (level and level.limits) or {}
    amounts: dict[str, Any] = {}
    for name, field in _FIELDS:
        limit = _amount(limits, name, where=f"{where}.resources.limits")
        request = _amount(requests, name, where=f"{where}.resources.requests")
        overhead = _amount(pod.overhead or {}, name, where=f"{where}.overhead")
        if request is None and limits:
            request = _requested_at_most(pod, name, where=where)
            request = limit if request is None else request
        parts = [getattr(container, f"req_{field}") for container in beside]
        if request is None and (overhead is not None or _known(parts)):
            request = sum(_known([*(getattr(container, f"req_{field}") for container in containers), *parts]))
        parts = [getattr(container, f"lim_{field}") for container in beside]
        if limit is None and _known(parts):
            parts += [getattr(container, f"lim_{field}") for container in containers]
            limit = None if None in parts else sum(_known(parts))
        amounts |= {
            f"pod_req_{field}": None if request is None else request + (overhead or 0.0),
            f"pod_lim_{field}": limit,
        }
    return amounts


def _requested_at_most(pod: PodSpec, name: str, *, where: str) -> float | None:
    """Return the most that the containers of a pod request at a time, as the API server adds it up: all that run
    together, or an init container beside the native sidecars that started before it. None where none requests any.
    """
    field = dict(_FIELDS)[name]
    started: list[float] = []
    at_start: list[float] = []
    for container in pod.init_containers or ():
        request = container_amounts(container, where=f"{where}.initContainers[{container.name}]")[f"req_{field}"]
        if request is None:
            continue
        at_start.append(sum(started) + request)
        if is_native(container):
            started.append(request)
    for place, container in enumerate(pod.containers):
        request = container_amounts(container, where=f"{where}.containers[{place}]")[f"req_{field}"]
        started += [] if request is None else [request]
    return max(sum(started), *at_start, 0.0) if started or at_start else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _amount(resources: Resources, name: str, *, where: str) -> float | None:
    value = resources.get(name)
    if value is None:
        return None
    try:
        return cpu_mcpu(value) if name == "cpu" else memory_mib(value)
    except NotAQuantity as error:
        raise InvalidInput(f'{where}.{name}: "{quoted(value)}" {error.must}') from None
