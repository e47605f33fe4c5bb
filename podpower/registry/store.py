"""The model store: immutable versions, and the pointer to the served one.

    versions/20260101T000000Z-0a1b2c3d4e5f/encoder.joblib, knn_energy.joblib, manifest.json
    promotions/<time>-<random>.json        one a change of what is served; never changed
    latest.json                            the served version
    quarantine.json                        specs whose labels are not used

A version is there once its manifest is; the manifest is written last. Local folders and object stores alike.
"""

import contextlib
import hashlib
import re
import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import Any, Final

import msgspec
from upath import UPath

from podpower.errors import InvalidInput, PodpowerError, Refused
from podpower.features.encoder import Encoder
from podpower.hours import DAY_S
from podpower.io.files import is_local, write_atomically
from podpower.io.object_storage import ObjectStorage, decoded, encoded
from podpower.model.fit import check_fit
from podpower.model.knn import KnnModel
from podpower.registry import artifacts
from podpower.registry.promotions import LATEST_FILE, UNPIN, Clock, Pointer, Promotion, Promotions, Serving, utc_now
from podpower.registry.quarantine import QuarantineList
from podpower.registry.sealing import LIMIT_BYTES

ENCODER_FILE: Final = "encoder.joblib"
MODEL_FILE: Final = "knn_energy.joblib"
MANIFEST_FILE: Final = "manifest.json"
ROLLBACKS_KEPT: Final = 10
SERVED_KEPT_S: Final = 2 * DAY_S  # the daily evaluation needs what was served the day before

_VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
_REPLACE = "promote another version, or put the same files in again with `podpower models add`"


class StoredFile(msgspec.Struct, kw_only=True, frozen=True):
    """Digest (SHA-256, 64 hex digits) and size of a file of a version."""

    sha256: str
    size_bytes: int


class VersionInfo(msgspec.Struct, kw_only=True, frozen=True):
    """The manifest of a version: its contents, its figures, and the metadata given to `add`."""

    version: str
    created_at: str
    trained_at: str
    target: str
    step_seconds: float
    encoder_fingerprint: str
    training_fingerprint: str
    training_size: dict[str, int]
    metrics: dict[str, Any]
    files: dict[str, StoredFile]
    metadata: dict[str, Any] = {}


class ModelStore:
    """A store at `root`: a folder, or a URL such as s3://bucket/models. Made when first written to.

    Every method may raise PodpowerError when the place does not answer or has no room.
    """

    def __init__(self, root: UPath | Path | str, *, clock: Clock = utc_now) -> None:
        self._storage = ObjectStorage(root)
        self._clock = clock
        self.root = self._storage.root
        self._promotions = Promotions(self._storage, clock=clock)
        self.quarantine = QuarantineList(self._storage)

    def add(self, encoder: Encoder, model: KnnModel, *, metadata: Mapping[str, Any] | None = None) -> str:
        """Store the pair and return its version; the same pair again is the same version, and nothing is written.

        `metadata` (plain JSON values) is kept in the manifest. Refused when the model was trained with another encoder.
        """
        check_fit(encoder, model)
        contents = {ENCODER_FILE: artifacts.encoder_bytes(encoder), MODEL_FILE: artifacts.model_bytes(model)}
        files = {name: _described(data) for name, data in contents.items()}
        info = VersionInfo(
            version=_version_name(model.trained_at, files),
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            trained_at=model.trained_at,
            target=model.target,
            step_seconds=model.step_seconds,
            encoder_fingerprint=encoder.fingerprint,
            training_fingerprint=artifacts.training_fingerprint(model),
            training_size=model.training_size,
            metrics=model.metrics,
            files=files,
            metadata=dict(metadata or {}),
        )
        if not self.is_whole(info.version):
            contents[MANIFEST_FILE] = msgspec.json.format(encoded(info), indent=2)
            self._publish(info.version, contents)
        return info.version

    def promote(self, version: str, *, instead_of: str | EllipsisType | None = ..., pin: bool = False) -> None:
        """Serve `version` from now on; with `pin` candidates do not replace it. Refused when it cannot be loaded; the
        served version stays then.

        `instead_of` is given where no person decides: it is the version that `version` was compared with. Refused when
        another one is served by now, or the served one is pinned.
        """
        self.load(version)
        with self._storage.exclusive():
            self.info(version)  # nobody has removed it meanwhile
            if instead_of is not ...:
                self._check_unattended(version, instead_of)
            self._promotions.point_to(version, action="promote", pinned=pin)

    def _check_unattended(self, version: str, instead_of: str | None) -> None:
        served = self.latest()
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
        pointer = self._promotions.last()
        return pointer is not None and pointer.pinned and self.is_whole(pointer.version)

    def champion(self) -> str | None:
        """Return the version that candidates are compared with: the served one or, where it is damaged, the last one
        before it that can be loaded; None where there is none.
        """
        pointer = self._promotions.last()
        candidates = [pointer.version] if pointer else []
        candidates += reversed(self._promotions.stack())
        return next((version for version in dict.fromkeys(candidates) if self.is_whole(version)), None)

    def last_served(self) -> str | None:
        """Return the served version or, where the pointer is missing or damaged, the last one of the history."""
        pointer = self._promotions.last()
        return pointer.version if pointer else None

    def pin(self) -> str:
        """Pin the served version and return it. Refused when there is none."""
        return self._set_pin(True)

    def unpin(self) -> str:
        """Unpin the served version and return it. Refused when there is none."""
        return self._set_pin(False)

    def _set_pin(self, pinned: bool) -> str:
        with self._storage.exclusive():
            version = self.latest()
            if version is None:
                raise Refused(f"nothing is promoted in {self.root} yet: see `podpower models promote --help`")
            if self.pinned() != pinned:
                self._promotions.point_to(version, action="pin" if pinned else "unpin", pinned=pinned)
        return version

    def rollback(self) -> str:
        """Serve the version promoted before the served one, pin it, and return it; damaged ones are skipped. Refused
        when there is none.
        """
        with self._storage.exclusive():
            before = self._promotions.stack()
            latest = self.last_served()
            while before and latest is not None and before.pop() != latest:
                pass
            while before:
                version = before.pop()
                try:
                    self.load(version)
                except Refused:
                    continue
                self._promotions.point_to(version, action="rollback", pinned=True)
                return version
        raise Refused("no earlier promoted version can be loaded: promote one of `podpower models list`")

    def prune(self, *, keep: int) -> list[str]:
        """Remove the oldest versions until `keep` are left, and return them. The served version stays, and so do those
        served in the last two days and the ROLLBACKS_KEPT versions that rollbacks go back to.
        """
        if keep < 1:
            raise InvalidInput(f"keep must be at least 1, not {keep}")
        with self._storage.exclusive():
            now_s = self._clock().timestamp()
            recent = self._promotions.serving(now_s - SERVED_KEPT_S, now_s)
            needed = {self.last_served(), *self._promotions.stack()[-ROLLBACKS_KEPT - 1 :]}
            needed |= {serving.version for serving in recent}
            removed = [info.version for info in self.versions()[keep:] if info.version not in needed]
            for version in removed:
                self._storage.remove(self._folder(version), first=MANIFEST_FILE)  # without it nothing is listed
        return removed

    def latest(self) -> str | None:
        """Return the served version; None before the first promotion. Refused when the pointer is damaged."""
        pointer = self._pointer()
        return pointer.version if pointer else None

    def _pointer(self) -> Pointer | None:
        pointer = self._promotions.pointer()
        if pointer is not None:
            _checked(pointer.version)
        return pointer

    def history(self) -> list[Promotion]:
        """Return every promotion, rollback and change of the pin, oldest first."""
        return self._promotions.history()

    def serving(self, start_s: float, end_s: float) -> list[Serving]:
        """Return the versions served in a time range (Unix seconds), oldest first, each with its part of it."""
        return self._promotions.serving(start_s, end_s)

    def versions(self) -> list[VersionInfo]:
        """Return the manifests of all versions that have one, newest first; see `damaged` for the others."""
        found = []
        for path in self._storage.children("versions"):
            with contextlib.suppress(Refused):
                found.append(self.info(path.name))
        return sorted(found, key=lambda info: info.version, reverse=True)

    def damaged(self, *, contents: bool = False) -> dict[str, str]:
        """Return damaged versions, and a damaged pointer: name and reason. Only presence and size of files are checked;
        with `contents` they are read and compared with their digests.
        """
        found: dict[str, str] = {}
        for path in self._storage.children("versions"):
            self._examine(path.name, found, contents=contents)
        try:
            served = self.latest()
        except Refused as error:
            found[LATEST_FILE] = str(error)
        else:
            if served in found:
                found[served] += " (it is the one to be served)"
            elif served is not None:
                self._examine(served, found, contents=False)
        return dict(sorted(found.items()))

    def _examine(self, version: str, found: dict[str, str], *, contents: bool) -> None:
        try:
            info = self.info(version)
            for name in info.files:
                look = self._content if contents else self._check_size
                look(info, name)
        except Refused as error:
            found[version] = str(error)

    def _check_size(self, info: VersionInfo, name: str) -> None:
        if self._storage.size_bytes(self._folder(info.version) / name) != info.files[name].size_bytes:
            raise Refused(f"{name} of version {info.version} is missing or cut off: {_REPLACE}")

    def info(self, version: str) -> VersionInfo:
        """Return the manifest of `version`. Refused when there is none or it is damaged."""
        data = self._storage.read(self._folder(version) / MANIFEST_FILE)
        if data is None:
            raise Refused(f"no version {version} in {self.root}: see `podpower models list`")
        try:
            info = decoded(data, VersionInfo, what=f"the manifest of version {version}")
        except Refused as error:
            raise Refused(f"{error}: {_REPLACE}") from None
        if info.version != version or set(info.files) != {ENCODER_FILE, MODEL_FILE}:
            raise Refused(f"the manifest of version {version} is of another version: {_REPLACE}")
        return info

    def load(self, version: str) -> tuple[Encoder, KnnModel]:
        """Return encoder and model of `version`.

        Refused when it is missing, differs from its manifest, cannot be unsealed, or the two do not fit together.
        """
        info = self.info(version)
        contents = {name: self._content(info, name) for name in (ENCODER_FILE, MODEL_FILE)}
        try:
            encoder = artifacts.encoder_from_bytes(contents[ENCODER_FILE])
            model = artifacts.model_from_bytes(contents[MODEL_FILE])
            check_fit(encoder, model)
        except Refused as error:
            raise Refused(f"version {version}: {error}") from None
        return encoder, model

    def _content(self, info: VersionInfo, name: str) -> bytes:
        data = self._storage.read(self._folder(info.version) / name, limit_bytes=LIMIT_BYTES)
        if data is None:
            raise Refused(f"{name} of version {info.version} is missing: {_REPLACE}")
        if _described(data) != info.files[name]:
            raise Refused(f"{name} of version {info.version} does not match its digest in the manifest: {_REPLACE}")
        return data

    def is_whole(self, version: str) -> bool:
        """Return True when all files of the version exist and match its manifest."""
        try:
            info = self.info(version)
            for name in info.files:
                self._content(info, name)
        except Refused:
            return False
        return True

    def _publish(self, version: str, contents: Mapping[str, bytes]) -> None:
        folder = self._folder(version)
        if not is_local(self.root):
            for name, data in contents.items():  # the manifest is the last; without it nothing is listed
                write_atomically(folder / name, data)
            return
        aside = self.root / "versions" / f".{version}.{uuid.uuid4().hex}"
        try:
            for name, data in contents.items():
                write_atomically(aside / name, data)
            self._move_into_place(Path(str(aside)), Path(str(folder)), version=version)
        finally:
            shutil.rmtree(str(aside), ignore_errors=True)

    def _move_into_place(self, aside: Path, folder: Path, *, version: str) -> None:
        try:
            aside.rename(folder)
        except OSError as error:  # it is there: damaged, or another writer was quicker with the same content
            if not folder.is_dir():
                raise PodpowerError(f"cannot write {folder}: {error.strerror}") from error
            if not self.is_whole(version):
                for name in (ENCODER_FILE, MODEL_FILE, MANIFEST_FILE):
                    (aside / name).replace(folder / name)

    def _folder(self, version: str) -> UPath:
        return self.root / "versions" / _checked(version)


def _checked(version: str) -> str:
    if not _VERSION.fullmatch(version):  # never part of a path before it is known to be a plain name
        raise Refused(f"{version!r} is not a version: they look like 20260101T000000Z-0a1b2c3d4e5f")
    return version


def _version_name(trained_at: str, files: Mapping[str, StoredFile]) -> str:
    try:
        moment = datetime.fromisoformat(trained_at)
    except ValueError:
        raise Refused(f"trained_at {trained_at!r} of the model is not a time: train it again") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    content = hashlib.sha256("".join(files[name].sha256 for name in sorted(files)).encode()).hexdigest()
    return f"{moment:%Y%m%dT%H%M%SZ}-{content[:12]}"


def _described(data: bytes) -> StoredFile:
    return StoredFile(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
