"""Objects reduced to the fields of `podpower.kubernetes.types`. What remains has the form that the API gives it."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from podpower.kubernetes.types import CronJobObject, Object, PodObject, Received, RevisionObject, WorkloadObject

JsonObject = dict[str, Any]
Change = Callable[[JsonObject], JsonObject]
_Read = Callable[[Any], Any]

_SHAPES: Mapping[str, type[Object]] = {
    "CronJob": CronJobObject,
    "Pod": PodObject,
    "ControllerRevision": RevisionObject,
}
_RECEIVED = msgspec.json.Decoder(Received)
_ANYTHING = msgspec.json.Decoder(JsonObject)


def decode_object(raw: msgspec.Raw) -> JsonObject:
    """Return the object in `raw` without the metadata and status that nothing reads, which are most of it. An object
    with fields of a wrong type is returned whole; the error about them comes later.
    """
    try:
        found: JsonObject = msgspec.to_builtins(_RECEIVED.decode(raw))
    except msgspec.ValidationError:
        return _ANYTHING.decode(raw)
    return found


class Reader:
    """Reads the known fields of objects. `changes` are applied to each part of a type, such as an `EnvVar`.

    A value of a wrong type can hold anything, so it is replaced by an empty one of its own type: the error about the
    field stays the same.
    """

    def __init__(self, changes: Mapping[type, Change] | None = None) -> None:
        self._changes = dict(changes or {})
        self._of = cache(self._reader)

    def read(self, obj: Mapping[str, Any]) -> JsonObject:
        """Return an object with the fields that are read of its kind."""
        kept: JsonObject = self._of(_SHAPES.get(str(obj.get("kind")), WorkloadObject))(obj)
        return kept

    def _reader(self, shape: type) -> _Read:
        """Return the function that reads a struct."""
        info = inspect.type_info(shape)
        assert isinstance(info, inspect.StructType)  # noqa: S101  # for the type checker
        fields = [(f.encode_name, _REDUCED.get(f.encode_name) or self._value(f.type)) for f in info.fields]
        change = self._changes.get(shape)

        def read(value: Any) -> Any:
            if not isinstance(value, Mapping):
                return _empty(value)
            kept = {name: inner(value[name]) for name, inner in fields if name in value}
            return change(kept) if change else kept

        return read

    def _value(self, info: inspect.Type) -> _Read:
        """Return the function that reads a value of a type."""
        read: _Read = _same
        match info:
            case inspect.Metadata():
                read = self._value(info.type)
            case inspect.UnionType():
                parts = [part for part in info.types if not isinstance(part, inspect.NoneType)]
                read = self._value(parts[0]) if len(parts) == 1 else _text
            case inspect.StructType():
                read = self._of(info.cls)
            case inspect.ListType():
                read = _list_of(self._value(info.item_type))
            case inspect.DictType():
                read = _mapping_of(self._value(info.value_type))
            case inspect.StrType() | inspect.LiteralType():
                read = _text
            case inspect.IntType() | inspect.FloatType() | inspect.BoolType():
                read = _empty
        return read


def _list_of(item: _Read) -> _Read:
    return lambda value: [item(one) for one in value] if isinstance(value, list) else _empty(value)


def _mapping_of(inner: _Read) -> _Read:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return _empty(value)
        return {name: inner(one) for name, one in value.items()}

    return read


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else _empty(value)


def _empty(value: Any) -> Any:
    """Return numbers and None as they are, of anything else an empty value of its type."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return [] if isinstance(value, list) else "" if isinstance(value, str) else {}


def _volumes(value: Any) -> Any:
    return [_volume(volume) for volume in value] if isinstance(value, list) else _empty(value)


def _volume(volume: Any) -> Any:
    """Return the name and type of a volume, and the medium of an emptyDir."""
    if not isinstance(volume, Mapping):
        return _empty(volume)
    kept: JsonObject = {name: {} for name, value in volume.items() if name != "name" and value is not None}
    empty_dir = volume.get("emptyDir")
    if isinstance(empty_dir, Mapping):
        kept["emptyDir"] = {"medium": _text(empty_dir["medium"])} if "medium" in empty_dir else {}
    return {"name": _text(volume.get("name")), **kept}


# Fields of which only a part is read.
_REDUCED: Mapping[str, _Read] = {
    "volumes": _volumes,
    "volumeClaimTemplates": lambda value: [{} for _ in value[:1]] if isinstance(value, list) else _empty(value),
    "workloadRef": lambda _: {},
}
