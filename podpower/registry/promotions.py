"""The pointer to the served version, whether it is pinned, and the history of both.

A change writes the history first and the pointer last. A rollback pins the version it returns to: neither the version
that was found to be bad nor the next candidate of the same labels replaces it until a person unpins it.
"""

import contextlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from podpower.errors import Refused
from podpower.io.files import write_atomically
from podpower.io.object_storage import ObjectStorage, decoded, encoded

LATEST_FILE: Final = "latest.json"
UNPIN: Final = "promote another with `podpower models promote`, or allow candidates again with `podpower models unpin`"

Action = Literal["promote", "rollback", "pin", "unpin", "resume"]  # "resume" is unpin in older stores
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


class Promotion(msgspec.Struct, kw_only=True, frozen=True):
    """One change of the served version or of its pin; `pinned` as in Pointer."""

    at: str
    action: Action
    version: str
    pinned: bool = msgspec.field(default=False, name="held")

    @property
    def at_s(self) -> float | None:
        """The time in Unix seconds; None where it is not a valid one."""
        try:
            moment = datetime.fromisoformat(self.at)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Pointer(msgspec.Struct, kw_only=True, frozen=True):
    """The served version and the time of its promotion; `pinned`: candidates do not replace it."""

    version: str
    promoted_at: str
    pinned: bool = msgspec.field(default=False, name="held")


class Serving(msgspec.Struct, kw_only=True, frozen=True):
    """A time range in which one version was served."""

    version: str
    start_s: float
    end_s: float


class Promotions:
    """The pointer of a store and its history."""

    def __init__(self, storage: ObjectStorage, *, clock: Clock = utc_now) -> None:
        self._storage = storage
        self._clock = clock

    def pointer(self) -> Pointer | None:
        """Return the pointer; None before the first promotion. Refused when the pointer is damaged."""
        data = self._storage.read(self._storage.root / LATEST_FILE)
        if data is None:
            return None
        try:
            return decoded(data, Pointer, what=f"{self._storage.root}/{LATEST_FILE}")
        except Refused as error:
            raise Refused(f"{error}: promote a version again") from None

    def last(self) -> Pointer | None:
        """Return the pointer or, where it is missing or damaged, the last one of the history."""
        with contextlib.suppress(Refused):
            if pointer := self.pointer():
                return pointer
        changes = self.history()
        if not changes:
            return None
        return Pointer(version=changes[-1].version, promoted_at=changes[-1].at, pinned=changes[-1].pinned)

    def point_to(self, version: str, *, action: Action, pinned: bool = False) -> None:
        """Serve the version from now on."""
        moment = self._clock()
        now = moment.isoformat(timespec="milliseconds")
        # Time first, so that names sort; random last, so that two writers never take the same.
        name = f"{int(moment.timestamp() * 1e6) * 1000:020d}-{uuid.uuid4().hex[:8]}.json"
        root = self._storage.root
        write_atomically(
            root / "promotions" / name, encoded(Promotion(at=now, action=action, version=version, pinned=pinned))
        )
        write_atomically(root / LATEST_FILE, encoded(Pointer(version=version, promoted_at=now, pinned=pinned)))

    def history(self) -> list[Promotion]:
        """Return every change, oldest first."""
        changes = []
        for path in sorted(self._storage.children("promotions"), key=lambda path: path.name):
            with contextlib.suppress(Refused):  # one damaged entry does not hide the others
                changes.append(decoded(self._storage.read(path) or b"", Promotion, what=path.name))
        return changes

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
