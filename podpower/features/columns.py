"""The numeric and categorical columns of a request, before any scaling."""

from collections import Counter
from collections.abc import Iterable, Sequence

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
_MAX_CATEGORIES = 12  # more distinct values than this are names, not categories; the rest shares "other"


def numeric_values(requests: Sequence[InferenceRequest]) -> FloatArray:
    """Return NUMERIC_COLUMNS of each request as log(1 + value), (n, columns); NaN where unknown, which 0 is not."""
    values = np.array([_numbers(request) for request in requests], dtype=np.float64)
    return np.log1p(np.maximum(values.reshape(len(requests), len(NUMERIC_COLUMNS)), 0.0)).astype(np.float32)


def _numbers(request: InferenceRequest) -> tuple[float, ...]:
    containers = request.containers
    return (
        _effective(request.pod_req_cpu_mcpu, request.pod_lim_cpu_mcpu, containers, "req_cpu_mcpu", "lim_cpu_mcpu"),
        _effective(request.pod_req_mem_mib, request.pod_lim_mem_mib, containers, "req_mem_mib", "lim_mem_mib"),
        _effective(request.pod_lim_cpu_mcpu, None, containers, "lim_cpu_mcpu", None),
        _effective(request.pod_lim_mem_mib, None, containers, "lim_mem_mib", None),
        len(containers),
        request.init_container_count,
        request.sidecar_count,
        request.gpu_count,
    )


def _effective(
    pod: float | None, pod_default: float | None, containers: Sequence[Container], field: str, default: str | None
) -> float:
    """Return the pod-level value, else the sum over the containers that have one; a missing request is its limit."""
    if pod is not None:
        return pod
    if len(containers) == 1:  # as in most pods
        value = getattr(containers[0], field)
        if value is None and default is not None:
            value = getattr(containers[0], default)
        if value is not None:
            return float(value)
    known = []
    for container in containers:
        value = getattr(container, field)
        if value is None and default is not None:
            value = getattr(container, default)
        if value is not None:
            known.append(value)
    if known:
        return float(sum(known))
    return float("nan") if pod_default is None else pod_default


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


def one_hot(requests: Sequence[InferenceRequest], vocabularies: Sequence[Sequence[str]]) -> FloatArray:
    """Return (n, values + one "other" a column): 1 where the request has the value; unknown values are "other"."""
    offsets, width = [], 0
    for vocabulary in vocabularies:
        offsets.append(width)
        width += len(vocabulary) + 1
    positions = [{v: o + i for i, v in enumerate(vocab)} for vocab, o in zip(vocabularies, offsets, strict=True)]
    hot = np.zeros((len(requests), width), dtype=np.float32)
    for row, request in enumerate(requests):
        for column, values in enumerate(categories(request)):
            other = offsets[column] + len(vocabularies[column])
            for value in values:
                hot[row, positions[column].get(value, other)] = 1.0
    return hot
