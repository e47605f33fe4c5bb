"""The model store: immutable versions, a pointer to the one that is served, and the history of that pointer.

    versions/20260101T000000Z-0a1b2c3d4e5f/encoder.joblib, knn_energy.joblib, manifest.json
    promotions/<time>-<random>.json        one a promotion or rollback; never changed
    latest.json                            what is served

A version is there once its manifest is; the manifest is written last. Local folders and object stores alike.
"""

import contextlib
import fcntl
import hashlib
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import Any, Final, Literal

import msgspec
from upath import UPath

from podpower.errors import InvalidInput, PodpowerError, Refused, Unavailable
from podpower.features.encoder import Encoder
from podpower.files import is_local, read_bounded, write_atomically
from podpower.model import artifacts
from podpower.model.knn import KnnModel

ENCODER_FILE: Final = "encoder.joblib"
MODEL_FILE: Final = "knn_energy.joblib"
MANIFEST_FILE: Final = "manifest.json"
ROLLBACKS_KEPT: Final = 10

_VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
_MAX_JSON_BYTES = 4 << 20


class StoredFile(msgspec.Struct, kw_only=True, frozen=True):
    """The digest (SHA-256, 64 hex digits) and size of a file of a version."""

    sha256: str
    size_bytes: int


class VersionInfo(msgspec.Struct, kw_only=True, frozen=True):
    """The manifest of a version: what it holds, how good it was found, and what the caller of `add` said of it."""

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


class Promotion(msgspec.Struct, kw_only=True, frozen=True):
    """One change of what is served."""

    at: str
    action: Literal["promote", "rollback"]
    version: str


class _Latest(msgspec.Struct, kw_only=True, frozen=True):
    version: str
    promoted_at: str


class ModelStore:
    """A store at `root`: a folder, or a URL such as s3://bucket/models. Made when first written to.

    Every method may raise PodpowerError when the place does not answer or has no room.
    """

    def __init__(self, root: UPath | Path | str) -> None:
        self.root = UPath(root)

    def add(self, encoder: Encoder, model: KnnModel, *, metadata: Mapping[str, Any] | None = None) -> str:
        """Store the pair and return its version; the same pair again is the same version, and nothing is written.

        `metadata` (plain JSON values) is kept in the manifest. Refused when the model was trained with another encoder.
        """
        artifacts.check_fit(encoder, model)
        contents = {ENCODER_FILE: artifacts.encoder_bytes(encoder), MODEL_FILE: artifacts.model_bytes(model)}
        files = {name: _described(data) for name, data in contents.items()}
        info = VersionInfo(
            version=_version_name(model.trained_at, files),
            created_at=_now(),
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
        if not self._is_whole(info.version):
            contents[MANIFEST_FILE] = msgspec.json.format(_encoded(info), indent=2)
            self._publish(info.version, contents)
        return info.version

    def promote(self, version: str, *, instead_of: str | EllipsisType | None = ...) -> None:
        """Serve `version` from now on. Refused when it cannot be loaded; what is served stays then.

        `instead_of`, where given, is what it was compared with: Refused when something else is served by now.
        """
        self.load(version)
        with self._alone():
            self.info(version)  # nobody has removed it meanwhile
            if instead_of is not ... and (served := self.latest()) != instead_of:
                raise Refused(
                    f"{served or 'nothing'} is served by now, and {version} was compared with "
                    f"{instead_of or 'nothing'}: compare it again"
                )
            self._point_to(version, action="promote")

    def rollback(self) -> str:
        """Serve the version promoted before the one that is served, and return it; damaged ones are passed over.

        Refused when there is none.
        """
        with self._alone():
            before = self._promoted()
            latest = self.latest()
            while before and latest is not None and before.pop() != latest:
                pass
            while before:
                version = before.pop()
                try:
                    self.load(version)
                except Refused:
                    continue
                self._point_to(version, action="rollback")
                return version
        raise Refused("no earlier promoted version can be loaded: promote one of `podpower models list`")

    def prune(self, *, keep: int) -> list[str]:
        """Remove the oldest versions until `keep` are left, and return them. What is served stays, and so do the
        ROLLBACKS_KEPT versions that a rollback would come to.
        """
        if keep < 1:
            raise InvalidInput(f"keep must be at least 1, not {keep}")
        with self._alone():
            needed = {self.latest(), *self._promoted()[-ROLLBACKS_KEPT - 1 :]}
            removed = [info.version for info in self.versions()[keep:] if info.version not in needed]
            for version in removed:
                with _reaching(self.root):
                    folder = self._folder(version)
                    (folder / MANIFEST_FILE).unlink()  # first: without it nothing is listed
                    folder.fs.rm(folder.path, recursive=True)
        return removed

    def latest(self) -> str | None:
        """The version that is served; None before the first promotion. Refused when the pointer is damaged."""
        data = self._read(self.root / "latest.json")
        if data is None:
            return None
        try:
            version = msgspec.json.decode(data, type=_Latest).version
        except msgspec.DecodeError as error:
            raise Refused(f"{self.root}/latest.json is damaged ({error}): promote a version again") from None
        return _checked(version)

    def history(self) -> list[Promotion]:
        """Every promotion and rollback, oldest first."""
        promotions = []
        for path in sorted(self._children("promotions"), key=lambda path: path.name):
            data = self._read(path)
            with contextlib.suppress(msgspec.DecodeError):  # one damaged entry does not hide the others
                promotions.append(msgspec.json.decode(data or b"", type=Promotion))
        return promotions

    def versions(self) -> list[VersionInfo]:
        """The manifests of all versions that have one, newest first; see `damaged` for the others."""
        found = []
        for path in self._children("versions"):
            with contextlib.suppress(Refused):
                found.append(self.info(path.name))
        return sorted(found, key=lambda info: info.version, reverse=True)

    def damaged(self) -> dict[str, str]:
        """What lies among the versions, or is served, and cannot be read: name and reason. Models are not opened."""
        found: dict[str, str] = {}
        for path in self._children("versions"):
            self._examine(path.name, found)
        try:
            served = self.latest()
        except Refused as error:
            found["latest.json"] = str(error)
        else:
            if served is not None:
                self._examine(served, found)
        return dict(sorted(found.items()))

    def _examine(self, version: str, found: dict[str, str]) -> None:
        try:
            self.info(version)
        except Refused as error:
            found[version] = str(error)

    def info(self, version: str) -> VersionInfo:
        """The manifest of `version`. Refused when there is none or it is damaged."""
        data = self._read(self._folder(version) / MANIFEST_FILE)
        if data is None:
            raise Refused(f"no version {version} in {self.root}: see `podpower models list`")
        try:
            info = msgspec.json.decode(data, type=VersionInfo)
        except msgspec.DecodeError as error:
            raise Refused(f"the manifest of version {version} is damaged ({error}): {_ADD_AGAIN}") from None
        if info.version != version or set(info.files) != {ENCODER_FILE, MODEL_FILE}:
            raise Refused(f"the manifest of version {version} is of another version: {_ADD_AGAIN}")
        return info

    def load(self, version: str) -> tuple[Encoder, KnnModel]:
        """Encoder and model of `version`.

        Refused when it is missing, differs from its manifest, cannot be unsealed, or the two do not fit together.
        """
        info = self.info(version)
        try:
            encoder = artifacts.encoder_from_bytes(self._content(info, ENCODER_FILE))
            model = artifacts.model_from_bytes(self._content(info, MODEL_FILE))
            artifacts.check_fit(encoder, model)
        except Refused as error:
            raise Refused(f"version {version}: {error}") from None
        return encoder, model

    def _content(self, info: VersionInfo, name: str) -> bytes:
        data = self._read(self._folder(info.version) / name, limit_bytes=artifacts.LIMIT_BYTES)
        if data is None:
            raise Refused(f"{name} is missing: {_ADD_AGAIN}")
        if _described(data) != info.files[name]:
            raise Refused(f"{name} does not match the digest in its manifest: {_ADD_AGAIN}")
        return data

    def _is_whole(self, version: str) -> bool:
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
            if not self._is_whole(version):
                for name in (ENCODER_FILE, MODEL_FILE, MANIFEST_FILE):
                    (aside / name).replace(folder / name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One change of what is served at a time. Object stores know no locks: there the last of two wins."""
        if not is_local(self.root):
            yield
            return
        folder = Path(str(self.root))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise PodpowerError(f"cannot lock {folder}: {error.strerror}") from error

    def _point_to(self, version: str, *, action: Literal["promote", "rollback"]) -> None:
        now = _now()
        entry = Promotion(at=now, action=action, version=version)
        # Time first, so that names sort; random last, so that two writers never take the same.
        write_atomically(
            self.root / "promotions" / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json", _encoded(entry)
        )
        write_atomically(self.root / "latest.json", _encoded(_Latest(version=version, promoted_at=now)))

    def _promoted(self) -> list[str]:
        """The versions to go back through, the newest last: what was rolled back is no longer among them."""
        stack: list[str] = []
        for entry in self.history():
            if entry.action == "rollback":
                while stack and stack[-1] != entry.version:
                    stack.pop()
            elif not stack or stack[-1] != entry.version:
                stack.append(entry.version)
        return stack

    def _folder(self, version: str) -> UPath:
        return self.root / "versions" / _checked(version)

    def _children(self, name: str) -> Iterator[UPath]:
        self.root.fs.invalidate_cache()  # object stores remember listings; other processes write too
        with _reaching(self.root):
            try:
                children = list((self.root / name).iterdir())
            except (FileNotFoundError, NotADirectoryError):
                return
        yield from (child for child in children if not child.name.startswith("."))

    def _read(self, path: UPath, *, limit_bytes: int = _MAX_JSON_BYTES) -> bytes | None:
        self.root.fs.invalidate_cache()
        with _reaching(self.root):
            if not path.exists():
                return None
            try:
                return read_bounded(path, limit_bytes=limit_bytes)
            except InvalidInput as error:
                raise Refused(f"{error}: {_ADD_AGAIN}") from None


_ADD_AGAIN = "add it again, or promote another version"


@contextlib.contextmanager
def _reaching(root: UPath) -> Iterator[None]:
    try:
        yield
    except PodpowerError:
        raise
    except OSError as error:
        raise Unavailable(f"the model store {root} does not answer: {' '.join(str(error).split())}") from error


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


def _encoded(value: msgspec.Struct) -> bytes:
    try:
        return msgspec.json.encode(value)
    except TypeError as error:
        raise InvalidInput(f"metadata must be plain JSON values: {error}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
