"""Autoscalers in the input: HorizontalPodAutoscalers and KEDA's ScaledObjects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from podpower.errors import InvalidInput
from podpower.kubernetes.limits import MAX_COUNT
from podpower.kubernetes.types import Metadata
from podpower.specs.normalising import convert
from podpower.specs.spelling import field_hints

_Replicas = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_KEDA_MAX: Final = 100  # KEDA's default


class _Shape(msgspec.Struct, rename="camel", kw_only=True):
    pass


class _Target(_Shape):
    name: str
    kind: str = "Deployment"  # KEDA's default; a HorizontalPodAutoscaler always has one


class _HpaSpec(_Shape):
    scale_target_ref: _Target
    max_replicas: _Replicas
    min_replicas: _Replicas | None = None


class _Hpa(_Shape):
    metadata: Metadata
    spec: _HpaSpec


class _ScaledObjectSpec(_Shape):
    scale_target_ref: _Target
    min_replica_count: _Replicas | None = None
    max_replica_count: _Replicas | None = None


class _ScaledObject(_Shape):
    metadata: Metadata
    spec: _ScaledObjectSpec


@dataclass(frozen=True, kw_only=True)
class Autoscaler:
    """Limits of the replicas of one workload; `name` is Kind/name of the autoscaler."""

    name: str
    namespace: str
    target_kind: str
    target_name: str
    low: int
    high: int

    @property
    def target(self) -> str:
        """Kind/name of the scaled workload."""
        return f"{self.target_kind}/{self.target_name}"


def read_autoscaler(obj: Mapping[str, Any], *, group: str | None, lenient: bool) -> Autoscaler | None:
    """Return the autoscaler, None for another kind. InvalidInput names the field that is wrong."""
    kind = obj.get("kind")
    if kind == "HorizontalPodAutoscaler" and group in {"autoscaling", None}:
        hpa = _read(obj, _Hpa, lenient=lenient)
        low = 1 if hpa.spec.min_replicas is None else hpa.spec.min_replicas
        return _autoscaler(kind, hpa.metadata, hpa.spec.scale_target_ref, low, hpa.spec.max_replicas)
    if kind == "ScaledObject" and group in {"keda.sh", None}:
        scaled = _read(obj, _ScaledObject, lenient=lenient)
        low, high = scaled.spec.min_replica_count or 0, scaled.spec.max_replica_count
        return _autoscaler(
            kind, scaled.metadata, scaled.spec.scale_target_ref, low, _KEDA_MAX if high is None else high
        )
    return None


def _read(obj: Mapping[str, Any], shape: type[Any], *, lenient: bool) -> Any:
    if not lenient and (hints := field_hints(obj, shape)):
        raise InvalidInput("; ".join(hints))
    return convert(obj, shape)


def _autoscaler(kind: str, metadata: Metadata, target: _Target, low: int, high: int) -> Autoscaler:
    if high < low:
        raise InvalidInput(f"its upper limit of {high} replicas is below the lower one of {low}")
    return Autoscaler(
        name=f"{kind}/{metadata.name}",
        namespace=metadata.namespace or "default",
        target_kind=target.kind,
        target_name=target.name,
        low=low,
        high=high,
    )
