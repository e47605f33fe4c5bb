"""One line of the output: an InferenceRequest, and which change of which object it tells of."""

from typing import Any

import msgspec

from podpower.sources.protocols import EventType
from podpower.specs.requests import InferenceRequest


class Line(InferenceRequest, kw_only=True, frozen=True):
    """`resource` is group/version/plural of the object that changed, which may be a pod of the workload.

    `uid` and `resource_version` are the object's; together with `event` they are never written twice. `observed_at_s`
    is Unix seconds.
    """

    event: EventType
    resource: str
    uid: str
    resource_version: str
    observed_at_s: float


class Told(msgspec.Struct, kw_only=True):
    """Of a line only what tells it from others."""

    event: EventType
    resource: str
    uid: str
    resource_version: str
    namespace: str = "default"

    @property
    def identity(self) -> tuple[str, str, str]:
        """The same for the same change."""
        return (self.uid, self.resource_version, self.event)


_FIELDS = InferenceRequest.__struct_fields__
_LINE = msgspec.json.Decoder(Line)
_TOLD = msgspec.json.Decoder(Told)


def line_of(request: InferenceRequest, **change: Any) -> bytes:
    """The line of a change, with its line break."""
    return msgspec.json.encode(Line(**{name: getattr(request, name) for name in _FIELDS}, **change)) + b"\n"


def told_by(line: bytes) -> Told:
    """ValueError when it is no line of ours."""
    return _TOLD.decode(line)


def deleted(line: bytes, *, resource_version: str, observed_at_s: float) -> bytes:
    """The line that tells that what `line` tells of has gone."""
    gone = msgspec.structs.replace(
        _LINE.decode(line), event="DELETED", resource_version=resource_version, observed_at_s=observed_at_s
    )
    return msgspec.json.encode(gone) + b"\n"
