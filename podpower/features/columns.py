"""The numeric and categorical columns of a request, before any scaling."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isnan

import numpy as np
from numpy.typing import NDArray

from podpower.features.names import controller_kind
from podpower.specs.requests import Container, InferenceRequest

FloatArray = NDArray[np.float32]

# Of one pod: replicas, parallelism and completions are the number of pods, and are no part of the spec hash either.
NUMERIC_COLUMNS = (
    "req_cpu_mcpu",
    "req_mem_mib",
    "lim_cpu_mcpu",
    "lim_mem_mib",
    "containers",
    "init_containers",
    "sidecars",
    "gpus",
)
CATEGORY_COLUMNS = ("kind", "node_type", "runtime_class", "volume_type")
_UNKNOWN = float("nan")
_MAX_CATEGORIES = 12  # more distinct values than this are names, not categories; the rest shares "other"


Amounts = tuple[float, ...]
"""NUMERIC_COLUMNS of one request; NaN where unknown, which 0 is not."""


def numeric_values(amounts: Sequence[Amounts]) -> FloatArray:
    """Return log(1 + amount), (n, columns); NaN where unknown."""
    values = np.array(amounts, dtype=np.float64).reshape(len(amounts), len(NUMERIC_COLUMNS))
    return np.log1p(np.maximum(values, 0.0)).astype(np.float32)


def amounts_of(request: InferenceRequest) -> Amounts:
    """Return the amounts of one pod."""
    containers = request.containers
    return (
        _request(request.pod_req_cpu_mcpu, request.pod_lim_cpu_mcpu, containers, "req_cpu_mcpu", "lim_cpu_mcpu"),
        _request(request.pod_req_mem_mib, request.pod_lim_mem_mib, containers, "req_mem_mib", "lim_mem_mib"),
        _limit(request.pod_lim_cpu_mcpu, containers, "lim_cpu_mcpu"),
        _limit(request.pod_lim_mem_mib, containers, "lim_mem_mib"),
        len(containers),
        request.init_container_count,
        request.sidecar_count,
        request.gpu_count,
    )


def _request(
    pod: float | None, pod_default: float | None, containers: Sequence[Container], field: str, default: str
) -> float:
    """Return the pod-level value, else the sum over the containers that have one; a missing request is its limit."""
    if pod is not None:
        return pod
    if len(containers) == 1:  # as in most pods
        value = getattr(containers[0], field)
        if value is None:
            value = getattr(containers[0], default)
        if value is not None:
            return float(value)
    known = []
    for container in containers:
        value = getattr(container, field)
        if value is None:
            value = getattr(container, default)
        if value is not None:
            known.append(value)
    if known:
        return float(sum(known))
    return _UNKNOWN if pod_default is None else pod_default


def _limit(pod: float | None, containers: Sequence[Container], field: str) -> float:
    """Return the pod-level value, else the sum over the containers; NaN where one of them has no limit."""
    if pod is not None:
        return pod
    total = 0.0
    for container in containers:
        value = getattr(container, field)
        if value is None:
            return _UNKNOWN
        total += value
    return total


def categories(request: InferenceRequest) -> tuple[tuple[str, ...], ...]:
    """Return the values of CATEGORY_COLUMNS; an empty tuple where there is none. Volume types may be several."""
    return (
        (controller_kind(request),),
        (request.node_type,) if request.node_type else (),
        (request.runtime_class,) if request.runtime_class else (),
        tuple(dict.fromkeys(request.volume_types)),
    )


def fit_vocabularies(requests: Iterable[InferenceRequest]) -> list[list[str]]:
    """Return the most frequent values of each of CATEGORY_COLUMNS, sorted by name."""
    counts: list[Counter[str]] = [Counter() for _ in CATEGORY_COLUMNS]
    for request in requests:
        for counter, values in zip(counts, categories(request), strict=True):
            counter.update(values)
    ranked = (sorted(c, key=lambda value, c=c: (-c[value], value)) for c in counts)  # type: ignore[misc]
    return [sorted(values[:_MAX_CATEGORIES]) for values in ranked]


class OneHot:
    """Marks the values of CATEGORY_COLUMNS that a request has, one column a value."""

    def __init__(self, vocabularies: Sequence[Sequence[str]]) -> None:
        """`vocabularies` are the values of each of CATEGORY_COLUMNS; each has one column more, for all others."""
        self._places: list[dict[str, int]] = []
        self._others: list[int] = []
        width = 0
        for vocabulary in vocabularies:
            self._places.append({value: width + place for place, value in enumerate(vocabulary)})
            self._others.append(width + len(vocabulary))
            width += len(vocabulary) + 1

    def write(self, requests: Sequence[InferenceRequest], cells: FloatArray, mark: float) -> None:
        """Write `mark` into the zeros of `cells` (n, columns) where the request has the value."""
        (kinds, other_kind), *rest = zip(self._places, self._others, strict=True)
        for row, request in enumerate(requests):
            cells[row, kinds.get(controller_kind(request), other_kind)] = mark
            if request.node_type or request.runtime_class or request.volume_types:
                for (places, other), values in zip(rest, categories(request)[1:], strict=True):
                    for value in values:
                        cells[row, places.get(value, other)] = mark


def requested_cpu_mcpu(request: InferenceRequest) -> float | None:
    """Return the millicores that one pod requests, a limit standing in for a missing request; None without any."""
    value = _request(
        request.pod_req_cpu_mcpu, request.pod_lim_cpu_mcpu, request.containers, "req_cpu_mcpu", "lim_cpu_mcpu"
    )
    return None if isnan(value) else value


def limited_to(request: InferenceRequest, field: str) -> float | None:
    """Return the limit of one pod (`lim_cpu_mcpu` or `lim_mem_mib`); None where a container has none."""
    value = _limit(getattr(request, f"pod_{field}"), request.containers, field)
    return None if isnan(value) else value
