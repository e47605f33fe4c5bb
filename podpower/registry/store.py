"""The model store: immutable versions, and the pointer to the served one.

    versions/20260101T000000Z-0a1b2c3d4e5f/encoder.joblib, knn_energy.joblib, report.html, manifest.json
    promotions/<number>.json               one a change of what is served; the last one decides
    latest.json                            a copy of a recent change
    quarantine/<number>.json               specs whose labels are not used; the last one counts

A version is there once its manifest is; the manifest is written last. Numbered files are created once, so that of
several writers at once each sees the others' changes. Local folders and object stores alike.

`served` is strict: what the pointer names, Refused when it is damaged. `last_served` and `last_loaded` answer then too:
the last version of the history, and the last one that can be loaded.
"""

import contextlib
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Final

from podpower.errors import InvalidInput, Refused
from podpower.features.encoder import Encoder
from podpower.hours import DAY_S
from podpower.io.places import AnyPath
from podpower.model.knn import KnnModel
from podpower.registry.promotions import (
    LATEST_FILE,
    UNPIN,
    Action,
    Clock,
    Head,
    Pointer,
    Promotions,
    ServedChange,
    Serving,
    utc_now,
)
from podpower.registry.quarantine import QUARANTINE_FOLDER, QuarantineList
from podpower.registry.versions import ENCODER_FILE, MANIFEST_FILE, MODEL_FILE, VersionInfo, Versions, checked_version

__all__ = ["ENCODER_FILE", "MANIFEST_FILE", "MODEL_FILE", "ModelStore", "VersionInfo"]

ROLLBACKS_KEPT: Final = 10
SERVED_KEPT_S: Final = 2 * DAY_S  # the daily evaluation needs what was served the day before


class ModelStore(Versions):
    """A store at `root`: a folder, or a URL such as s3://bucket/models. Made when first written to.

    Every method may raise PodpowerError when the place does not answer or has no room.
    """

    def __init__(self, root: AnyPath, *, clock: Clock = utc_now) -> None:
        super().__init__(root)
        self._clock = clock
        self._promotions = Promotions(self._storage, clock=clock)
        self.quarantine = QuarantineList(self._storage)

    def promote(self, version: str, *, instead_of: str | EllipsisType | None = ..., pin: bool = False) -> None:
        """Serve `version` from now on; with `pin` candidates do not replace it. Refused when it cannot be loaded; the
        served version stays then.

        `instead_of` is given where no person decides: it is the version that `version` was compared with. Refused when
        another one is served by now, or the served one is pinned.
        """
        self.load(version)

        def promoted(head: Head) -> bool:
            if instead_of is not ...:
                self._check_unattended(version, instead_of)
            return self._promotions.append(head, version, action="promote", pinned=pin)

        before = self._change(promoted)
        if self._storage.read(self._folder(version) / MANIFEST_FILE) is None:  # `prune` was quicker
            if before is not None:
                self._change(lambda head: self._point_back(head, version, before))
            raise Refused(f"version {version} was removed meanwhile: promote another of `podpower models list`")

    def _change(self, change: Callable[[Head], bool]) -> Pointer | None:
        """Repeat a change on the last state until no other writer comes between; return the pointer before it."""
        while not change(head := self._promotions.head()):
            pass
        return head.pointer

    def _point_back(self, head: Head, version: str, before: Pointer) -> bool:
        if head.pointer is None or head.pointer.version != version:
            return True
        return self._promotions.append(head, before.version, action="rollback", pinned=before.pinned)

    def _check_unattended(self, version: str, instead_of: str | None) -> None:
        served = self.served()
        if served != instead_of:
            raise Refused(
                f"{served or 'nothing'} is served by now, and {version} was compared with "
                f"{instead_of or 'nothing'}: compare it again"
            )
        if self.pinned():
            raise Refused(f"{served} is pinned: {UNPIN}")

    def pinned(self) -> bool:
        """Return True when only a person can change the served version: after a rollback, or where it was pinned. A
        version that cannot be served is not pinned; where the pointer is damaged, the history decides.
        """
        pointer = self._promotions.head().pointer
        return pointer is not None and pointer.pinned and self.is_whole(pointer.version)

    def last_loaded(self) -> tuple[str, tuple[Encoder, KnnModel]] | None:
        """Return version and content of `last_served` or, where its files are damaged or of a former podpower, of the
        last one served before it that can be loaded; None where there is none. Candidates are compared with it, and a
        restarted service serves it.
        """
        pointer = self._promotions.head().pointer
        candidates = [pointer.version] if pointer else []
        candidates += reversed(self._promotions.stack())
        for version in dict.fromkeys(candidates):
            if self.is_whole(version):
                with contextlib.suppress(Refused):
                    return version, self.load(version)
        return None

    def last_loadable(self) -> str | None:
        """Return the version of `last_loaded`."""
        found = self.last_loaded()
        return found and found[0]

    def last_served(self) -> str | None:
        """Return the version of `served` or, where the pointer is damaged, the last one of the history; None before the
        first promotion. Its files can be damaged.
        """
        pointer = self._promotions.head().pointer
        return pointer.version if pointer else None

    def pin(self) -> str:
        """Pin the served version and return it. Refused when there is none."""
        return self._set_pin(pinned=True)

    def unpin(self) -> str:
        """Unpin the served version and return it. Refused when there is none."""
        return self._set_pin(pinned=False)

    def _set_pin(self, *, pinned: bool) -> str:
        action: Action = "pin" if pinned else "unpin"
        version = None

        def change(head: Head) -> bool:
            nonlocal version
            version = self.served()
            if version is None:
                raise Refused(f"nothing is promoted in {self.root} yet: see `podpower models promote --help`")
            return self.pinned() == pinned or self._promotions.append(head, version, action=action, pinned=pinned)

        self._change(change)
        return str(version)

    def rollback(self) -> str:
        """Serve the version promoted before the served one, pin it, and return it; damaged ones are skipped. Refused
        when there is none.
        """
        version = ""

        def change(head: Head) -> bool:
            nonlocal version
            version = self._before(head)
            return self._promotions.append(head, version, action="rollback", pinned=True)

        self._change(change)
        return version

    def _before(self, head: Head) -> str:
        """Return the last version promoted before the served one that can be loaded. Refused when there is none."""
        before = self._promotions.stack()
        served = head.pointer.version if head.pointer else None
        while before and served is not None and before.pop() != served:
            pass
        while before:
            version = before.pop()
            with contextlib.suppress(Refused):
                self.load(version)
                return version
        raise Refused("no earlier promoted version can be loaded: promote one of `podpower models list`")

    def prune(self, *, keep: int) -> list[str]:
        """Remove the oldest versions until `keep` are left, and return them. The served version stays, and so do those
        served in the last two days and the ROLLBACKS_KEPT versions that rollbacks go back to. A version whose manifest
        is damaged is removed with those of its age.
        """
        if keep < 1:
            raise InvalidInput(f"keep must be at least 1, not {keep}")
        needed = self.needed()
        versions = [info.version for info in self.versions()]
        unreadable = [name for name in self.unreadable(versions) if versions[keep:] and name < versions[keep - 1]]
        chosen = [version for version in (*versions[keep:], *unreadable) if version not in needed]
        removed = self.remove(chosen) if chosen else []
        self._promotions.prune()
        return removed

    def needed(self) -> set[str]:
        """Return the versions that are served, were in the last two days, or that rollbacks go back to."""
        now_s = self._clock().timestamp()
        recent = {serving.version for serving in self._promotions.serving(now_s - SERVED_KEPT_S, now_s)}
        served = self.last_served()
        return recent | {*self._promotions.stack()[-ROLLBACKS_KEPT - 1 :]} | ({served} if served else set())

    def remove(self, versions: Sequence[str]) -> list[str]:
        """Remove versions, and return them, without the one that somebody promotes meanwhile: `promote` looks for the
        manifest after the promotion, and this looks for a promotion after removing the manifest.
        """
        manifests = {version: self._folder(version) / MANIFEST_FILE for version in versions}
        contents = {version: self._storage.read(path) for version, path in manifests.items()}
        for path in manifests.values():
            self._storage.unlink(path)
        served = self.last_served()
        if (manifest := contents.pop(str(served), None)) is not None:
            self._storage.create(manifests[str(served)], manifest)
        for version in contents:
            self._storage.remove(self._folder(version))
        return list(contents)

    def served(self) -> str | None:
        """Return the version that the pointer names; None before the first promotion. Refused when the pointer is
        damaged (`last_served` looks into the history then). Its files can be damaged (`last_loadable`).
        """
        pointer = self._pointer()
        return pointer.version if pointer else None

    def _pointer(self) -> Pointer | None:
        pointer = self._promotions.pointer()
        if pointer is not None:
            checked_version(pointer.version)
        return pointer

    def history(self) -> list[ServedChange]:
        """Return every promotion, rollback and change of the pin, oldest first."""
        return self._promotions.history()

    def serving(self, start_s: float, end_s: float) -> list[Serving]:
        """Return the versions served in a time range (Unix seconds), oldest first, each with its part of it."""
        return self._promotions.serving(start_s, end_s)

    def damaged(self, *, contents: bool = False) -> dict[str, str]:
        """Return damaged versions, changes, quarantine and pointer: name and reason. Of a version's files presence and
        size are checked; with `contents` they are read and compared with their digests.
        """
        found = self._promotions.unreadable() | self.damaged_versions(contents=contents)
        try:
            self.quarantine.read()
        except Refused as error:
            found[QUARANTINE_FOLDER] = str(error)
        try:
            served = self.served()
        except Refused as error:
            found[LATEST_FILE] = str(error)
        else:
            if served in found:
                found[served] += " (it is the one to be served)"
            elif served is not None:
                self.examine(served, found, contents=False)
        return dict(sorted(found.items()))
