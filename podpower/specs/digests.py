"""The digest of the parts of a template that decide power and are not fields of the `InferenceRequest`.

A list of what enters, not of what does not: defaults that the API server fills in, labels, annotations, names and
timestamps stay outside by construction.
"""

from collections.abc import Callable, Sequence
from typing import Any

from podpower.errors import InvalidInput
from podpower.kubernetes.quantities import parse_quantity
from podpower.kubernetes.types import Affinity, KubeContainer, PodSpec, Probe, Resources
from podpower.specs.hashing import digest
from podpower.specs.redaction import redact_command, redact_image, redact_value, redact_words

_PROBE_PERIOD_SECONDS = 10  # the API server's default


def template_digest(pod: PodSpec, *, is_gpu: Callable[[str], bool]) -> str | None:
    """Return 64 hex digits, or None for a template without such parts."""
    content = {
        "containers": _bare([_rest(c, is_gpu=is_gpu) for c in pod.containers]),
        "init_containers": [{**_rest(c, is_gpu=is_gpu), **_whole(c)} for c in pod.init_containers or ()],
        "node_selector": pod.node_selector or {},
        "required_nodes": required_node_terms(pod.affinity),
        "memory_volumes": sum(_is_in_memory(volume) for volume in pod.volumes or ()),
        "host_network": bool(pod.host_network),
    }
    kept = {name: value for name, value in content.items() if value}
    return digest(kept) if kept else None


def required_node_terms(affinity: Affinity | None) -> list[dict[str, Any]]:
    """Return the terms of the node affinity that must match; empty where there are none."""
    required = affinity.node_affinity.required if affinity and affinity.node_affinity else None
    return (required.node_selector_terms if required else None) or []


def _is_in_memory(volume: dict[str, Any]) -> bool:
    empty_dir = volume.get("emptyDir")
    return isinstance(empty_dir, dict) and empty_dir.get("medium") == "Memory"


def _probes(container: KubeContainer) -> list[Probe]:
    probes = (container.liveness_probe, container.readiness_probe, container.startup_probe)
    return [probe for probe in probes if probe]


def _bare(containers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(containers) if any(containers) else []


def _rest(container: KubeContainer, *, is_gpu: Callable[[str], bool]) -> dict[str, Any]:
    """Return what a container has beside the fields of `Container`, or an empty dict."""
    resources = container.resources
    amounts = {**(resources.requests or {}), **(resources.limits or {})} if resources else {}
    rest = {
        "env": {
            v.name: redact_value(v.name, v.value) if v.value is not None else sorted(v.value_from or ())
            for v in container.env or ()
        },
        "env_from": sorted(_source(source) for source in container.env_from or ()),
        "devices": _devices({name: value for name, value in amounts.items() if is_gpu(name)}),
        "probes": [_command(probe) for probe in _probes(container) if _command(probe)],
    }
    return {name: value for name, value in rest.items() if value}


def _whole(container: KubeContainer) -> dict[str, Any]:
    resources = container.resources
    limits = {n: v for n, v in ((resources and resources.limits) or {}).items() if n in {"cpu", "memory"}}
    requests = {n: v for n, v in ((resources and resources.requests) or {}).items() if n in {"cpu", "memory"}}
    command, args = redact_command(container.command, container.args)
    return {
        "image": redact_image(container.image),
        "command": command,
        "args": args,
        "native": container.restart_policy == "Always",
        "req": _devices(limits | requests),  # a missing request is the limit, as in a pod of the API server
        "lim": _devices(limits),
    }


def _devices(amounts: Resources) -> dict[str, str]:
    """Return amounts by value, so that "1" and 1, or 500m and 0.5, are equal."""
    try:
        return {name: str(parse_quantity(value)) for name, value in amounts.items()}
    except InvalidInput as error:
        raise InvalidInput(f"resources: {error}") from None


def _source(source: dict[str, Any]) -> str:
    """Return a ConfigMap or Secret by kind and name."""
    for kind in ("configMapRef", "secretRef"):
        reference = source.get(kind)
        if isinstance(reference, dict):
            return f"{kind}/{reference.get('name')}/{source.get('prefix') or ''}"
    return ""


def _command(probe: Probe) -> dict[str, Any]:
    command = redact_words(probe.exec.command) if probe.exec else None
    return {"command": command, "period_seconds": probe.period_seconds or _PROBE_PERIOD_SECONDS} if command else {}
