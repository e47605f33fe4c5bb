"""Forms in which a workload is given: an InferenceRequest, its JSON, or an object or manifest of Kubernetes."""

import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict, TypeGuard

import msgspec

from podpower.errors import InvalidInput
from podpower.specs.quoting import printable
from podpower.specs.requests import InferenceRequest

_FILE_NAME: Final = re.compile(r"[^\n:{}]{1,4096}\.(?:ya?ml|json)", re.IGNORECASE)

Workload: TypeAlias = InferenceRequest | Mapping[str, Any]
Manifests: TypeAlias = str | bytes | PathLike[str]


class ManifestOptions(TypedDict, total=False):
    """Options for reading manifests: `nodes` is the number of pods of a DaemonSet whose status has none, `lenient`
    ignores misspelt fields, `cluster` and `node_type` are those of workloads that name none.
    """

    nodes: int | None
    lenient: bool
    cluster: str | None
    node_type: str | None


class BatchOptions(ManifestOptions, total=False):
    """Options of a batch: `price` of a kWh in `currency` adds `cost_month`, `carbon` in g CO2e/kWh `co2e_kg_month`;
    `pue` multiplies both. `scope` "total" adds the nodes' idle share, of `idle_w_per_vcpu`.
    """

    price: float | None
    currency: str | None
    pue: float | None
    carbon: float | None
    scope: str | None
    idle_w_per_vcpu: float | None


def is_object(workload: Workload) -> bool:
    """Return True for an object of Kubernetes, False for an InferenceRequest."""
    return isinstance(workload, Mapping) and "kind" in workload and "workload_kind" not in workload


def is_manifests(given: Iterable[Workload] | Manifests) -> TypeGuard[Manifests]:
    """Return True for a text of manifests or the path of a file, False for workloads."""
    return isinstance(given, str | bytes | PathLike)


def json_of(workload: Workload | list[Workload]) -> bytes:
    """Return workloads as JSON. InvalidInput for values that JSON does not have."""
    try:
        return msgspec.json.encode(workload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"a workload must be an InferenceRequest, or JSON: {error}") from None


def text_of(manifests: Manifests) -> bytes:
    """Return the bytes of manifests: a text, or the file at a path. InvalidInput when it cannot be read."""
    if isinstance(manifests, str):
        if _FILE_NAME.fullmatch(manifests):
            raise InvalidInput(f"{printable(manifests)} is read as a manifest: give a file as pathlib.Path")
        return manifests.encode("utf-8", "surrogatepass")
    if isinstance(manifests, bytes):
        return manifests
    try:
        return Path(manifests).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {manifests}: {error.strerror}") from None


def one_form(workloads: Iterable[Workload]) -> tuple[list[Workload], bool]:
    """Return workloads as a list, and whether they are objects of Kubernetes. InvalidInput where both are mixed."""
    found = list(workloads)
    objects = sum(is_object(workload) for workload in found)
    if objects not in {0, len(found)}:
        raise InvalidInput("objects of Kubernetes and InferenceRequests in one batch: send them in two")
    return found, objects > 0


def query_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that are given as query parameters."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in options.items()
        if value is not None and value is not False
    }
