"""Pod templates inside objects of unknown kinds.

A pod template is a mapping under a key that ends in `template` whose `spec` has containers, each with an image. Its
place is unambiguous when no other template is beside it, above it or below it: what combines several (Flink's base and
overrides, a leader beside its workers) is left to the objects that the operator makes of them. KServe keeps bare pod
specs at known places.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from podpower.errors import InvalidInput
from podpower.kubernetes.limits import MAX_COUNT
from podpower.specs.quoting import quoted

Object = Mapping[str, Any]

_MAX_DEPTH: Final = 12
_MAX_NODES: Final = 20_000
_MAX_TEMPLATES: Final = 64
# Numbers of pods: the first two multiply anywhere on the way to a template, the others right beside it.
_MULTIPLIERS: Final = ("replicas", "parallelism")
_MULTIPLIERS_BESIDE: Final = (*_MULTIPLIERS, "count", "size", "instances")
_RANGES: Final = (("minReplicas", "maxReplicas"), ("minReplicaCount", "maxReplicaCount"))
_BARE_POD_SPECS: Final = {("serving.kserve.io", "InferenceService"): ("predictor", "transformer", "explainer")}


@dataclass(frozen=True, kw_only=True)
class FoundTemplate:
    """A pod template, the path of its holder in the object, and how many pods it makes at a time.

    `source` is where `replicas` comes from, None where nothing is given; `replicas_range` are limits of autoscaling.
    """

    path: tuple[str, ...]
    template: Object
    replicas: int
    source: str | None
    replicas_range: tuple[int, int] | None

    @property
    def component(self) -> str:
        """Place of the holder, written as `spec.workerGroupSpecs[0]`."""
        return "".join(part if part.startswith("[") else f".{part}" for part in self.path).lstrip(".")


@dataclass(frozen=True, kw_only=True)
class _Scale:
    replicas: int = 1
    given: bool = False
    limits: tuple[int, int] | None = None


def find_templates(obj: Object, *, group: str | None) -> tuple[list[FoundTemplate], str | None]:
    """Return the pod templates of an object, or none and the reason."""
    spec = obj.get("spec")
    if not isinstance(spec, Mapping):
        return [], "it has no spec"
    bare = _BARE_POD_SPECS.get((group or "", str(obj.get("kind"))))
    walk = _Walk()
    found = list(_bare_pod_specs(spec, bare) if bare else walk.templates(spec, ("spec",), _Scale()))
    if walk.nodes > _MAX_NODES or len(found) > _MAX_TEMPLATES:
        return [], "it is too large to be searched for pod templates"
    if not found:
        return [], "it has no pod template whose containers have images"
    for template in found:
        for other in found:
            if other is not template and other.path[: len(template.path)] == template.path:
                both = f"{quoted(template.component)} and {quoted(other.component)}"
                return [], f"its pod templates at {both} belong together"
    return found, None


class _Walk:
    def __init__(self) -> None:
        self.nodes = 0

    def templates(self, value: Any, path: tuple[str, ...], scale: _Scale) -> Iterator[FoundTemplate]:
        self.nodes += 1
        if len(path) > _MAX_DEPTH or self.nodes > _MAX_NODES:
            return
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from self.templates(item, (*path, f"[{index}]"), scale)
        elif isinstance(value, Mapping):
            inner = _scaled(scale, value, _MULTIPLIERS)
            for key, item in value.items():
                if _is_template(key, item):
                    yield _found(path, item, _scaled(scale, value, _MULTIPLIERS_BESIDE))
                else:
                    yield from self.templates(item, (*path, str(key)), inner)


def _is_template(key: object, value: Any) -> bool:
    if not (isinstance(key, str) and key.lower().endswith("template") and isinstance(value, Mapping)):
        return False
    spec = value.get("spec")
    return isinstance(spec, Mapping) and _has_images(spec)


def _has_images(pod_spec: Object) -> bool:
    containers = pod_spec.get("containers")
    return (
        isinstance(containers, list)
        and bool(containers)
        and all(isinstance(container, Mapping) and isinstance(container.get("image"), str) for container in containers)
    )


def _bare_pod_specs(spec: Object, names: tuple[str, ...]) -> Iterator[FoundTemplate]:
    for name in names:
        holder = spec.get(name)
        if isinstance(holder, Mapping) and _has_images(holder):
            yield _found(("spec", name), {"spec": holder}, _scaled(_Scale(), holder, ()))


def _found(path: tuple[str, ...], template: Object, scale: _Scale) -> FoundTemplate:
    return FoundTemplate(
        path=path,
        template=template,
        replicas=scale.replicas,
        source="spec" if scale.given else None,
        replicas_range=scale.limits,
    )


def _scaled(scale: _Scale, holder: Object, multipliers: tuple[str, ...]) -> _Scale:
    """Return the scale below `holder`: its counts multiply; without one, the lower limit of its autoscaling does."""
    counts = [count for name in multipliers if (count := _count(holder.get(name))) is not None]
    limits = scale.limits
    low = high = None
    for least, most in _RANGES:
        if _count(holder.get(least)) is not None or _count(holder.get(most)) is not None:
            low, high = _count(holder.get(least)), _count(holder.get(most))
            low = (1 if least == "minReplicas" else 0) if low is None else low
    if low is not None and high is not None and high >= low:
        limits = (low * scale.replicas, high * scale.replicas)
    if not counts and low is not None:
        counts = [low]
    replicas = scale.replicas
    for count in counts:
        replicas *= count
    if replicas > MAX_COUNT or (limits is not None and limits[1] > MAX_COUNT):
        raise InvalidInput(f"its replica counts multiply to more than {MAX_COUNT} pods")
    return _Scale(replicas=replicas, given=scale.given or bool(counts), limits=limits)


def _count(value: Any) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    if value > MAX_COUNT:
        raise InvalidInput(f"a replica count in it is more than {MAX_COUNT}")
    return value
