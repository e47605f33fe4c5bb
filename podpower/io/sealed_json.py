"""JSON files that carry their format, its version, and a digest of their bytes.

    {
      "format": "podpower-manifest",
      "format_version": 2,
      ...
      "sha256": "..."
    }

The digest is of all bytes before the comma in front of it; the bytes behind it are always the same. Files of version 1
have no digest: they are read, and marked as unverified.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import msgspec

from podpower.errors import InvalidInput, Refused

T = TypeVar("T")

MAX_BYTES: Final = 16 << 20
UPGRADE: Final = "it was written by a newer podpower: upgrade this one (docs/how-to/upgrade.md)"

_FIRST_SEALED = 2  # version 1 of every format has no digest
_DIGEST = re.compile(rb',\n  "sha256": "(?P<digest>[0-9a-f]{64})"\n\}\n\Z')
_DIGEST_BYTES = len(b',\n  "sha256": ""\n}\n') + 64
_HEAD = re.compile(
    rb'\{\s{0,4}"format": ?"podpower-(?P<name>[a-z-]{1,30})",\s{0,4}"format_version": ?(?P<version>[0-9]{1,6})\b'
)


@dataclass(frozen=True, kw_only=True)
class Sealed(Generic[T]):
    """A value that was read. `verified`: its digest matched; False for a file of version 1, which has none."""

    value: T
    verified: bool


@dataclass(frozen=True, kw_only=True)
class Format(Generic[T]):
    """A kind of file: its name, the version that is written, and the type of its content.

    `migrations` change the fields of an older version, by its number, into those of the next one. `compact`: the
    content is on one line, for files of many numbers.
    """

    name: str
    type: type[T]
    version: int = _FIRST_SEALED
    compact: bool = False
    migrations: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)

    def encode(self, value: T) -> bytes:
        """Return a file of the value. InvalidInput when something in it is no plain value."""
        try:
            fields = msgspec.to_builtins(value, str_keys=True)
            head = {"format": f"podpower-{self.name}", "format_version": self.version}
            text = msgspec.json.encode({**head, **fields})
            if not self.compact:
                text = msgspec.json.format(text, indent=2)
        except TypeError as error:
            raise InvalidInput(f"metadata must be plain JSON values: {error}") from None
        body = text.removesuffix(b"}").removesuffix(b"\n")
        return body + b',\n  "sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'

    def decode(self, data: bytes, *, what: str) -> Sealed[T]:
        """Return the value in a file. Refused, naming `what`, when its bytes are not those that were written, when it
        is another kind of file, or of a newer version.
        """
        head = _HEAD.match(data)
        digest = _DIGEST.search(data, max(0, len(data) - _DIGEST_BYTES))
        if digest is not None:
            if hashlib.sha256(data[: digest.start()]).hexdigest() != digest["digest"].decode():
                raise Refused(f"{what} is damaged (its bytes are not those that were written: SHA-256 differs)")
            if head is None or head["name"].decode() != self.name:
                raise Refused(f"{what} is another file in its place: {self._found(head)} where {self.name} is expected")
        elif head is not None and int(head["version"]) >= _FIRST_SEALED:
            raise Refused(f"{what} is damaged (its end is missing or was changed)")
        version = int(head["version"]) if head else 1
        if version > self.version:
            raise Refused(
                f"{what} has version {version} of its format, and this podpower reads up to {self.version}: {UPGRADE}"
            )
        return Sealed(value=self._value(data, version, what=what), verified=digest is not None)

    def _value(self, data: bytes, version: int, *, what: str) -> T:
        try:
            if not any(number in self.migrations for number in range(version, self.version)):
                return msgspec.json.decode(data, type=self.type)
            fields = msgspec.json.decode(data, type=dict[str, Any])
            for number in range(version, self.version):
                fields = self.migrations[number](fields) if number in self.migrations else fields
            return msgspec.convert(fields, self.type)
        except ValueError as error:
            raise Refused(f"{what} is damaged ({error})") from None

    def _found(self, head: "re.Match[bytes] | None") -> str:
        return head["name"].decode() if head else "something else"
