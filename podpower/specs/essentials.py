"""The essential form of Kubernetes objects, in which they are kept: the fields that are read, without credentials.

It is an object of the same form, and gives the same `InferenceRequest` and hash as the whole one.
"""

from collections.abc import Callable, Mapping
from typing import Any

from podpower.kubernetes.reading import JsonObject, Reader
from podpower.kubernetes.types import EnvVar, Exec, KubeContainer, Metadata, ObjectMetadata
from podpower.specs.redaction import redact_command, redact_image, redact_mapping, redact_value, redact_words


def essential(obj: Mapping[str, Any]) -> JsonObject:
    """Return the essential form of an object."""
    kept: JsonObject = {name: obj[name] for name in ("apiVersion", "kind") if isinstance(obj.get(name), str)}
    kept |= {"metadata": None, **_READER.read({**obj, **kept})}
    kept = {name: value for name, value in kept.items() if name not in {"apiVersion", "kind"} or isinstance(value, str)}
    status = kept.pop("status", None)
    if isinstance(status, Mapping) and status.get("phase") is not None:
        kept["status"] = {"phase": str(status["phase"])}
    return kept


def _metadata(metadata: JsonObject) -> JsonObject:
    for name in ("labels", "annotations"):
        texts = metadata.get(name)
        if texts is None:
            metadata.pop(name, None)
        elif isinstance(texts, Mapping) and all(isinstance(text, str) for text in texts.values()):
            metadata[name] = redact_mapping(texts)
    owners = metadata.pop("ownerReferences", None)
    if isinstance(owners, list):
        metadata["ownerReferences"] = [owner for owner in owners if isinstance(owner, Mapping)]
    return metadata


def _container(container: JsonObject) -> JsonObject:
    if isinstance(container.get("image"), str):
        container["image"] = redact_image(container["image"])
    given = {name: container[name] for name in ("command", "args") if name in container}
    if all(_is_words(words) for words in given.values()):  # one command line
        command, args = redact_command(given.get("command"), given.get("args"))
        return container | {name: words for name, words in (("command", command), ("args", args)) if name in given}
    return container | {name: _words(words) for name, words in given.items()}


def _exec(run: JsonObject) -> JsonObject:
    return run | {name: _words(words) for name, words in run.items()}


def _variable(variable: JsonObject) -> JsonObject:
    value = variable.get("value")
    return variable | ({"value": redact_value(str(variable.get("name")), value)} if isinstance(value, str) else {})


def _is_words(words: Any) -> bool:
    return words is None or (isinstance(words, list) and all(isinstance(word, str) for word in words))


def _words(words: Any) -> Any:
    """Return a redacted command line; of a list that is none, texts become empty."""
    if isinstance(words, list) and not _is_words(words):
        return ["" if isinstance(word, str) else word for word in words]
    return redact_words(words) if isinstance(words, list) else words


_CHANGES: dict[type, Callable[[JsonObject], JsonObject]] = {
    Metadata: _metadata,
    ObjectMetadata: _metadata,
    KubeContainer: _container,
    Exec: _exec,
    EnvVar: _variable,
}
_READER = Reader(_CHANGES)
