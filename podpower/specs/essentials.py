"""Of a Kubernetes object what podpower reads, without credentials: a list of what stays, not of what goes.

What remains is an object of the same form and gives the same `InferenceRequest` and hash as the whole one.
"""

from collections.abc import Callable, Mapping
from typing import Any

from podpower.specs.redaction import redact_command, redact_image, redact_mapping, redact_value, redact_words

_METADATA = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp",
)  # fmt: skip
_OWNER = ("apiVersion", "kind", "name", "uid", "controller")
_CONTAINER = ("name", "resources", "restartPolicy")
_POD_SPEC = ("nodeSelector", "runtimeClassName", "overhead", "resources", "hostNetwork", "nodeName")
_SCALE = (
    "replicas", "parallelism", "completions", "suspend", "schedule", "timeZone", "concurrencyPolicy",
)  # fmt: skip
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def essential(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The object without what nobody reads. Parts of a wrong type, which may hold anything, become an empty one of that
    type, so that the error about them stays the same.
    """
    kept: dict[str, Any] = {name: obj[name] for name in ("apiVersion", "kind") if isinstance(obj.get(name), str)}
    kept["metadata"] = _mapping(obj.get("metadata"), _metadata)
    if "spec" in obj:
        kept["spec"] = _mapping(obj["spec"], _pod_spec if obj.get("kind") == "Pod" else _workload_spec)
    if obj.get("kind") == "ControllerRevision":
        kept["data"] = _mapping(obj.get("data"), _holder)
        kept["revision"] = obj.get("revision")
    phase = (obj.get("status") or {}).get("phase") if isinstance(obj.get("status"), Mapping) else None
    if phase is not None:
        kept["status"] = {"phase": str(phase)}
    return kept


def _mapping(value: Any, keep: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    return keep(value) if isinstance(value, Mapping) else _odd(value)


def _odd(value: Any) -> Any:
    """What stands where something else belongs: numbers and None as they are, of anything else its type."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return [] if isinstance(value, list) else "" if isinstance(value, str) else {}


def _some(value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = _some(metadata, _METADATA)
    for name in ("labels", "annotations"):
        if metadata.get(name) is not None:
            kept[name] = _texts(metadata[name])
    if isinstance(metadata.get("ownerReferences"), list):
        kept["ownerReferences"] = [_some(r, _OWNER) for r in metadata["ownerReferences"] if isinstance(r, Mapping)]
    return kept


def _texts(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return _odd(values)
    if all(isinstance(value, str) for value in values.values()):
        return redact_mapping(values)
    return {name: value if isinstance(value, str) else _odd(value) for name, value in values.items()}


def _workload_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = _some(spec, _SCALE)
    if "template" in spec:
        kept["template"] = _mapping(spec["template"], _template)
    if "jobTemplate" in spec:
        kept["jobTemplate"] = _mapping(spec["jobTemplate"], _holder)
    if "workloadRef" in spec:
        kept["workloadRef"] = {}
    if isinstance(spec.get("volumeClaimTemplates"), list) and spec["volumeClaimTemplates"]:
        kept["volumeClaimTemplates"] = [{}]
    return kept


def _holder(holder: Mapping[str, Any]) -> dict[str, Any]:
    """What has the spec of a workload inside: the template of a job, the data of a ControllerRevision."""
    return {"spec": _mapping(holder["spec"], _workload_spec)} if "spec" in holder else {}


def _template(template: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"spec": _mapping(template["spec"], _pod_spec)} if "spec" in template else {}
    if "metadata" in template:
        kept["metadata"] = _mapping(template["metadata"], _metadata)
    return kept


def _pod_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = _some(spec, _POD_SPEC)
    for name in ("containers", "initContainers"):
        if name in spec:
            kept[name] = _each(spec[name], _container)
    if "volumes" in spec:
        kept["volumes"] = _each(spec["volumes"], _volume)
    if "affinity" in spec:
        kept["affinity"] = _mapping(spec["affinity"], _affinity)
    return kept


def _affinity(affinity: Mapping[str, Any]) -> dict[str, Any]:
    required = ("requiredDuringSchedulingIgnoredDuringExecution",)
    if "nodeAffinity" not in affinity:
        return {}
    return {"nodeAffinity": _mapping(affinity["nodeAffinity"], lambda nodes: _some(nodes, required))}


def _each(values: Any, keep: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    return [_mapping(value, keep) for value in values] if isinstance(values, list) else _odd(values)


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    kept = _some(container, _CONTAINER)
    if "image" in container:
        image = container["image"]
        kept["image"] = redact_image(image) if isinstance(image, str) else _odd(image)
    kept |= _command_line(container)
    if "env" in container:
        kept["env"] = _each(container["env"], _variable)
    if "envFrom" in container:
        kept["envFrom"] = container["envFrom"] if isinstance(container["envFrom"], list) else _odd(container["envFrom"])
    for name in _PROBES:
        if name in container:
            kept[name] = _mapping(container[name], _probe)
    return kept


def _probe(probe: Mapping[str, Any]) -> dict[str, Any]:
    kept = _some(probe, ("periodSeconds",))
    if "exec" in probe:
        kept["exec"] = _mapping(probe["exec"], _run)
    return kept


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"command": _words(run["command"])} if "command" in run else {}


def _command_line(container: Mapping[str, Any]) -> dict[str, Any]:
    """`command` and `args`, as far as they are there: one command line where both hold words."""
    given = _some(container, ("command", "args"))
    if not all(_is_words(words) for words in given.values()):
        return {name: _words(words) for name, words in given.items()}
    command, args = redact_command(given.get("command"), given.get("args"))
    return {name: words for name, words in (("command", command), ("args", args)) if name in given}


def _is_words(words: Any) -> bool:
    return words is None or (isinstance(words, list) and all(isinstance(word, str) for word in words))


def _words(words: Any) -> Any:
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return redact_words(words)
    return [_odd(word) for word in words] if isinstance(words, list) else _odd(words)


def _variable(variable: Mapping[str, Any]) -> dict[str, Any]:
    kept = _some(variable, ("name", "valueFrom"))
    if "value" in variable:
        value, name = variable["value"], variable.get("name")
        kept["value"] = redact_value(str(name), value) if isinstance(value, str) else _odd(value)
    return kept


def _volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    """Its name and type; of an emptyDir also where it is."""
    kept: dict[str, Any] = {name: {} for name, value in volume.items() if name != "name" and value is not None}
    if isinstance(volume.get("emptyDir"), Mapping):
        kept["emptyDir"] = _some(volume["emptyDir"], ("medium",))
    return {"name": volume.get("name"), **kept}
