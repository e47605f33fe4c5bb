"""The log of what is served: each change is a numbered file, created once, and the last one decides.

`latest.json` is a copy of a recent change, which spares readers a listing: they look from its number on for newer ones.
A rollback pins the version it returns to: neither the version that was found to be bad nor the next candidate of the
same labels replaces it until a person unpins it.
"""

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from upath import UPath

from podpower.errors import Refused
from podpower.io.numbered_files import NumberedFiles
from podpower.io.object_storage import ObjectStorage
from podpower.io.sealed_json import Format
from podpower.registry.versions import checked_version

LATEST_FILE: Final = "latest.json"
LOG_FOLDER: Final = "promotions"
CHANGES_KEPT: Final = 1000  # six weeks of a model an hour
UNPIN: Final = "promote another with `podpower models promote`, or allow candidates again with `podpower models unpin`"

Action = Literal["promote", "rollback", "pin", "unpin"]
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


class ServedChange(msgspec.Struct, kw_only=True, frozen=True):
    """One change of the served version or of its pin; `pinned` as in Pointer. `writer` is unique to the change."""

    at: str
    action: Action
    version: str
    pinned: bool = msgspec.field(default=False, name="held")
    writer: str = ""

    @property
    def at_s(self) -> float | None:
        """The time in Unix seconds; None where it is not a valid one."""
        try:
            moment = datetime.fromisoformat(self.at)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Pointer(msgspec.Struct, kw_only=True, frozen=True):
    """The served version and the time of its promotion; `pinned`: candidates do not replace it. `number` is that of the
    change, None in files of version 1.
    """

    version: str
    promoted_at: str
    pinned: bool = msgspec.field(default=False, name="held")
    number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Head:
    """The number of the last change, whether or not it can be read, and the last one that can."""

    number: int
    pointer: Pointer | None


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a promotion of version 1, where unpin was called resume."""
    return fields | {"action": "unpin"} if fields.get("action") == "resume" else fields


SERVED_CHANGE: Final = Format(name="promotion", type=ServedChange, migrations={1: _renamed})
POINTER: Final = Format(name="pointer", type=Pointer)


class Serving(msgspec.Struct, kw_only=True, frozen=True):
    """A time range in which one version was served."""

    version: str
    start_s: float
    end_s: float


class Promotions:
    """The log of a store, and its pointer."""

    def __init__(self, storage: ObjectStorage, *, clock: Clock = utc_now) -> None:
        self._storage = storage
        self._log = NumberedFiles(storage, LOG_FOLDER)
        self._latest = storage.root / LATEST_FILE
        self._clock = clock

    def pointer(self) -> Pointer | None:
        """Return the pointer; None before the first promotion. Refused when it, or a newer change, is damaged."""
        data = self._storage.read(self._latest)
        if data is None:
            return self._last_of(self._log.all())
        try:
            pointer = POINTER.decode(data, what=str(self._latest)).value
            if pointer.number is not None:
                return self._newest_from(pointer, pointer.number)
            checked_version(pointer.version)
        except Refused as error:
            raise Refused(f"{error}: promote a version again") from None
        return self._last_of(self._log.all()) or pointer

    def _newest_from(self, pointer: Pointer, number: int) -> Pointer:
        while (data := self._storage.read(path := self._log.path(number + 1))) is not None:
            number += 1
            pointer = _pointer(SERVED_CHANGE.decode(data, what=str(path)).value, number)
        return pointer

    def head(self) -> Head:
        """Return the last change; a damaged pointer and damaged changes are skipped."""
        files = self._log.all()  # first, so that what comes after it makes `append` fail
        pointer = None
        with contextlib.suppress(Refused):
            pointer = self.pointer()
        return Head(number=max(files, default=0), pointer=pointer or self._last_of(files))

    def _last_of(self, files: dict[int, UPath]) -> Pointer | None:
        """Return the last of these changes that can be read."""
        for number, path in reversed(files.items()):
            data = self._storage.read(path)
            with contextlib.suppress(Refused):
                return _pointer(SERVED_CHANGE.decode(data or b"", what=str(path)).value, number)
        return None

    def append(self, head: Head, version: str, *, action: Action, pinned: bool = False) -> bool:
        """Serve the version from now on; False when another change came after `head`, which has to be read again."""
        now = self._clock().isoformat(timespec="milliseconds")
        change = ServedChange(at=now, action=action, version=version, pinned=pinned, writer=uuid.uuid4().hex)
        number = head.number + 1
        if not self._log.create(number, SERVED_CHANGE.encode(change)):
            return False
        self._storage.write(self._latest, POINTER.encode(_pointer(change, number)))
        return True

    def history(self) -> list[ServedChange]:
        """Return every change that can be read, oldest first."""
        return self._read()[0]

    def unreadable(self) -> dict[str, str]:
        """Return the changes that cannot be read: file and reason."""
        return self._read()[1]

    def _read(self) -> tuple[list[ServedChange], dict[str, str]]:
        changes, unreadable = [], {}
        paths = list(self._log.all().values())
        for path, data in zip(paths, self._storage.read_all(paths), strict=True):
            try:
                changes.append(SERVED_CHANGE.decode(data or b"", what=str(path)).value)
            except Refused as error:  # one damaged entry does not hide the others
                unreadable[f"{LOG_FOLDER}/{path.name}"] = str(error)
        return changes, unreadable

    def prune(self) -> None:
        """Remove all but the last CHANGES_KEPT changes."""
        for path in list(self._log.all().values())[:-CHANGES_KEPT]:
            self._storage.unlink(path)

    def serving(self, start_s: float, end_s: float) -> list[Serving]:
        """Return which version was served in each part of a time range, oldest first, as the history has it."""
        changes = [(change.at_s, change.version) for change in self.history()]
        times = [(at_s, version) for at_s, version in changes if at_s is not None and at_s < end_s]
        found: list[Serving] = []
        for place, (at_s, version) in enumerate(times):
            until_s = times[place + 1][0] if place + 1 < len(times) else end_s
            first_s = max(at_s, start_s)
            if found and found[-1].version == version:
                found[-1] = msgspec.structs.replace(found[-1], end_s=max(until_s, found[-1].end_s))
            elif until_s > first_s:
                found.append(Serving(version=version, start_s=first_s, end_s=until_s))
        return found

    def stack(self) -> list[str]:
        """Return the versions that rollbacks go back through, the newest last, without those that were rolled back."""
        stack: list[str] = []
        for change in self.history():
            if change.action == "rollback":
                while stack and stack[-1] != change.version:
                    stack.pop()
            elif change.action == "promote" and (not stack or stack[-1] != change.version):
                stack.append(change.version)
        return stack


def _pointer(change: ServedChange, number: int) -> Pointer:
    return Pointer(version=change.version, promoted_at=change.at, pinned=change.pinned, number=number)
