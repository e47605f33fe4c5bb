"""What is served: a pointer to one version, whether it is held, and the history of both.

A change writes the history first and the pointer last. After a rollback the pointer is held: what was found to be bad
must not come back by itself, nor the next candidate of the same labels, until a person says so.
"""

import contextlib
import time
import uuid
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from podpower.errors import Refused
from podpower.io.files import write_atomically
from podpower.io.object_storage import Shelf, decoded, encoded

LATEST_FILE: Final = "latest.json"
RESUME: Final = "promote another with `podpower models promote`, or let it be replaced with `podpower models resume`"

Action = Literal["promote", "rollback", "resume"]


class Promotion(msgspec.Struct, kw_only=True, frozen=True):
    """One change of what is served, or the end of its being held; `held` as in Pointer."""

    at: str
    action: Action
    version: str
    held: bool = False


class Pointer(msgspec.Struct, kw_only=True, frozen=True):
    """What is served since when; `held`: no other version takes its place by itself."""

    version: str
    promoted_at: str
    held: bool = False


class Promotions:
    """The pointer of a store and its history."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def pointer(self) -> Pointer | None:
        """What is served; None before the first promotion. Refused when the pointer is damaged."""
        data = self._shelf.read(self._shelf.root / LATEST_FILE)
        if data is None:
            return None
        try:
            return decoded(data, Pointer, what=f"{self._shelf.root}/{LATEST_FILE}")
        except Refused as error:
            raise Refused(f"{error}: promote a version again") from None

    def last(self) -> Pointer | None:
        """What is served or, where the pointer is gone or damaged, what the history says was served last."""
        with contextlib.suppress(Refused):
            if pointer := self.pointer():
                return pointer
        changes = self.history()
        if not changes:
            return None
        return Pointer(version=changes[-1].version, promoted_at=changes[-1].at, held=changes[-1].held)

    def point_to(self, version: str, *, action: Action, held: bool = False) -> None:
        """Serve the version from now on."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        # Time first, so that names sort; random last, so that two writers never take the same.
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
        root = self._shelf.root
        write_atomically(
            root / "promotions" / name, encoded(Promotion(at=now, action=action, version=version, held=held))
        )
        write_atomically(root / LATEST_FILE, encoded(Pointer(version=version, promoted_at=now, held=held)))

    def history(self) -> list[Promotion]:
        """Every change, oldest first."""
        changes = []
        for path in sorted(self._shelf.children("promotions"), key=lambda path: path.name):
            with contextlib.suppress(Refused):  # one damaged entry does not hide the others
                changes.append(decoded(self._shelf.read(path) or b"", Promotion, what=path.name))
        return changes

    def stack(self) -> list[str]:
        """The versions to go back through, the newest last: what was rolled back is no longer among them."""
        stack: list[str] = []
        for change in self.history():
            if change.action == "rollback":
                while stack and stack[-1] != change.version:
                    stack.pop()
            elif change.action == "promote" and (not stack or stack[-1] != change.version):
                stack.append(change.version)
        return stack
