"""Lines of the output of `collect watch`: an InferenceRequest, and the change of the object that it comes from."""

from typing import Any

import msgspec

from podpower.kubernetes.types import EventType
from podpower.specs.requests import InferenceRequest


class Line(InferenceRequest, kw_only=True, frozen=True):
    """One line. `resource` is group/version/plural of the object that changed, which can be a pod of the workload.

    `uid` and `resource_version` are the object's; together with `event` they occur once. `observed_at_s` is Unix
    seconds.
    """

    event: EventType
    resource: str
    uid: str
    resource_version: str
    observed_at_s: float


class LineKey(msgspec.Struct, kw_only=True):
    """The fields of a line that identify it and its stream."""

    event: EventType
    resource: str
    uid: str
    resource_version: str
    namespace: str = "default"

    @property
    def identity(self) -> str:
        """Text that no other change has."""
        return f"{self.uid}/{self.resource_version}/{self.event}"


_FIELDS = InferenceRequest.__struct_fields__
_LINE = msgspec.json.Decoder(Line)
_KEY = msgspec.json.Decoder(LineKey)


def encode_line(request: InferenceRequest, **change: Any) -> bytes:
    """Return the line of a change, with its line break."""
    return msgspec.json.encode(Line(**{name: getattr(request, name) for name in _FIELDS}, **change)) + b"\n"


def line_key(line: bytes) -> LineKey:
    """Return the key of a line. ValueError when `collect watch` did not write it."""
    return _KEY.decode(line)


def deleted_line(line: bytes, *, resource_version: str, observed_at_s: float) -> bytes:
    """Return the line of the deletion of the object that `line` describes."""
    gone = msgspec.structs.replace(
        _LINE.decode(line), event="DELETED", resource_version=resource_version, observed_at_s=observed_at_s
    )
    return msgspec.json.encode(gone) + b"\n"
