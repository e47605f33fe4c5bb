"""Objects out of the API's JSON: plain dictionaries, without the parts that nobody reads, which are most of it."""

from typing import Any

import msgspec

Object = dict[str, Any]


class _Manager(msgspec.Struct, omit_defaults=True):
    """Of `managedFields` when something was written, not which fields."""

    operation: str = ""
    time: str = ""
    subresource: str = ""


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: Any = None
    generate_name: Any = None
    namespace: Any = None
    uid: Any = None
    resource_version: Any = None
    creation_timestamp: Any = None
    deletion_timestamp: Any = None
    labels: Any = None
    annotations: Any = None
    owner_references: Any = None
    managed_fields: list[_Manager] | None = None


class _Status(msgspec.Struct, rename="camel", omit_defaults=True):
    phase: Any = None
    container_statuses: Any = None


class _Object(msgspec.Struct, rename="camel", omit_defaults=True):
    metadata: _Metadata
    kind: Any = None
    api_version: Any = None
    spec: Any = None
    data: Any = None
    revision: Any = None
    status: _Status | None = None


_OBJECT = msgspec.json.Decoder(_Object)
_ANYTHING = msgspec.json.Decoder(dict[str, Any])


def read_object(raw: msgspec.Raw) -> Object:
    """The object in `raw`; of one that is put together oddly everything, for others to complain of."""
    try:
        found: Object = msgspec.to_builtins(_OBJECT.decode(raw))
    except msgspec.ValidationError:
        return _ANYTHING.decode(raw)
    return found
