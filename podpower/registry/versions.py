"""Versions of a model store: an encoder, a model that fits it, its evaluation, and a manifest with their digests.

    versions/20260101T000000Z-0a1b2c3d4e5f/encoder.joblib, knn_energy.joblib, report.html, manifest.json

A version is named by encoder and model and never changed; the report is optional. A version is there once its manifest
is, which is written last.
"""

import contextlib
import hashlib
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from upath import UPath

from podpower.errors import PodpowerError, Refused
from podpower.features.encoder import Encoder
from podpower.hours import DAY_S
from podpower.io.leftovers import remove_leftovers
from podpower.io.object_storage import ObjectStorage
from podpower.io.places import AnyPath, is_local
from podpower.io.sealed_json import Format
from podpower.io.storages import storage_at
from podpower.model.fit import check_fit
from podpower.model.knn import KnnModel
from podpower.registry import artifacts
from podpower.registry.sealing import LIMIT_BYTES

ENCODER_FILE: Final = "encoder.joblib"
MODEL_FILE: Final = "knn_energy.joblib"
MANIFEST_FILE: Final = "manifest.json"
REPORT_FILE: Final = "report.html"
MAX_REPORT_BYTES: Final = 16 << 20
UNFINISHED_KEPT_S: Final = DAY_S  # a version whose writer may still be alive

_ARTIFACTS = frozenset({ENCODER_FILE, MODEL_FILE})
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


MANIFEST: Final = Format(name="manifest", type=VersionInfo)


class Versions:
    """The versions of a store at `root`."""

    def __init__(self, root: AnyPath) -> None:
        self._storage = storage_at(root)
        self.root = self._storage.root

    @property
    def storage(self) -> ObjectStorage:
        """The files of the store."""
        return self._storage

    def add(
        self,
        encoder: Encoder,
        model: KnnModel,
        *,
        metadata: Mapping[str, Any] | None = None,
        report: bytes | None = None,
    ) -> str:
        """Store the pair and return its version; the same pair again is the same version, and nothing is written.

        `metadata` (plain JSON values) is kept in the manifest, and `report`, the evaluation as an HTML page, beside it.
        Refused when the model was trained with another encoder, or the report is larger than MAX_REPORT_BYTES.
        """
        check_fit(encoder, model)
        contents = {ENCODER_FILE: artifacts.encoder_bytes(encoder), MODEL_FILE: artifacts.model_bytes(model)}
        if report is not None:
            _check_report_size(len(report))
            contents[REPORT_FILE] = report
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
        manifest = MANIFEST.encode(info)
        self.remove_leftovers()
        if not self.is_whole(info.version):
            self._publish(info.version, contents, manifest)
        return info.version

    def remove_leftovers(self) -> list[str]:
        """Remove what killed writers left: versions without a manifest, and parts of files. Return their names."""
        removed = []
        if is_local(self.root):
            root = Path(str(self.root))
            removed = [path.name for path in remove_leftovers(root)]
            # Earlier versions of podpower made a version in a hidden folder.
            folders = [self.root / "versions" / path.name for path in root.glob("versions/.*") if path.is_dir()]
        else:
            folders = []
        shown = self._storage.children("versions")
        manifests = self._storage.read_all([folder / MANIFEST_FILE for folder in shown])
        folders += [folder for folder, manifest in zip(shown, manifests, strict=True) if manifest is None]
        for folder in folders:
            if self._storage.idle_s(folder) > UNFINISHED_KEPT_S:
                self._storage.remove(folder)
                removed.append(folder.name)
        return removed

    def versions(self) -> list[VersionInfo]:
        """Return the manifests of all versions that have one, newest first; see `damaged` for the others."""
        found = []
        for path in self._storage.children("versions"):
            with contextlib.suppress(Refused):
                found.append(self.info(path.name))
        return sorted(found, key=lambda info: info.version, reverse=True)

    def unreadable(self, readable: Collection[str]) -> list[str]:
        """Return the versions beside the `readable` ones that have a manifest: a damaged one."""
        found = []
        for path in self._storage.children("versions"):
            with contextlib.suppress(Refused):  # a folder of another name is no version
                if path.name not in readable and self.manifest(path.name) is not None:
                    found.append(path.name)
        return sorted(found, reverse=True)

    def unverified(self) -> list[str]:
        """Return the versions whose manifest has no digest, as earlier versions of podpower wrote them."""
        paths = [folder / MANIFEST_FILE for folder in self._storage.children("versions")]
        found = []
        for path, data in zip(paths, self._storage.read_all(paths), strict=True):
            with contextlib.suppress(Refused):
                if data is not None and not MANIFEST.decode(data, what=str(path)).verified:
                    found.append(path.parent.name)
        return sorted(found)

    def damaged_versions(self, *, contents: bool = False) -> dict[str, str]:
        """Return damaged versions and the reasons; with `contents` their files are compared with their digests."""
        found: dict[str, str] = {}
        for path in self._storage.children("versions"):
            self.examine(path.name, found, contents=contents)
        return found

    def examine(self, version: str, found: dict[str, str], *, contents: bool) -> None:
        """Add the version to `found` if it is damaged."""
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
            info = MANIFEST.decode(data, what=f"the manifest of version {version}").value
        except Refused as error:
            raise Refused(f"{error}: {_REPLACE}") from None
        if info.version != version or set(info.files) - {REPORT_FILE} != _ARTIFACTS:
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

    def has_report(self, version: str) -> bool:
        """Return True if the evaluation of `version` is kept. Refused when there is no such version."""
        return REPORT_FILE in self.info(version).files

    def report(self, version: str) -> bytes:
        """Return the evaluation of `version`, an HTML page. Refused when there is none, or its bytes were changed."""
        info = self.info(version)
        if REPORT_FILE not in info.files:
            raise Refused(f"version {version} has no report: it was not evaluated, or by an earlier podpower")
        _check_report_size(info.files[REPORT_FILE].size_bytes)
        return self._content(info, REPORT_FILE, limit_bytes=MAX_REPORT_BYTES)

    def _content(self, info: VersionInfo, name: str, *, limit_bytes: int = LIMIT_BYTES) -> bytes:
        data = self._storage.read(self._folder(info.version) / name, limit_bytes=limit_bytes)
        if data is None:
            raise Refused(f"{name} of version {info.version} is missing: {_REPLACE}")
        if _described(data) != info.files[name]:
            raise Refused(f"{name} of version {info.version} does not match its digest in the manifest: {_REPLACE}")
        return data

    def content(self, version: str, name: str) -> bytes:
        """Return the bytes of a file of `version`. Refused when it is missing or differs from its digest."""
        return self._content(self.info(version), name)

    def manifest(self, version: str) -> bytes | None:
        """Return the bytes of the manifest of `version`; None where there is none."""
        return self._storage.read(self._folder(version) / MANIFEST_FILE)

    def is_whole(self, version: str) -> bool:
        """Return True when all files of the version exist and match its manifest."""
        try:
            info = self.info(version)
            for name in info.files:
                self._content(info, name)
        except Refused:
            return False
        return True

    def _publish(self, version: str, contents: Mapping[str, bytes], manifest: bytes) -> None:
        """Write the files of a version and then its manifest, over damaged ones; nothing stays when that fails."""
        folder = self._folder(version)
        try:
            for name, data in contents.items():
                self._storage.write(folder / name, data)
            # Another writer of the same content keeps its manifest.
            if not self._storage.create(folder / MANIFEST_FILE, manifest) and not self.is_whole(version):
                self._storage.write(folder / MANIFEST_FILE, manifest)
        except PodpowerError:
            with contextlib.suppress(PodpowerError, OSError):
                if self._storage.read(folder / MANIFEST_FILE) is None:
                    self._storage.remove(folder)
            raise

    def _folder(self, version: str) -> UPath:
        return self.root / "versions" / checked_version(version)


def checked_version(version: str) -> str:
    """Return a version. Refused when it is not a valid name of one."""
    if not _VERSION.fullmatch(version):  # never part of a path before it is known to be a plain name
        raise Refused(f"{version!r} is not a version: they look like 20260101T000000Z-0a1b2c3d4e5f")
    return version


def _version_name(trained_at: str, files: Mapping[str, StoredFile]) -> str:
    try:
        moment = datetime.fromisoformat(trained_at)
    except ValueError:
        raise Refused(f"trained_at {trained_at!r} of the model is not a time: train it again") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    content = hashlib.sha256("".join(files[name].sha256 for name in sorted(_ARTIFACTS)).encode()).hexdigest()
    return f"{moment:%Y%m%dT%H%M%SZ}-{content[:12]}"


def _check_report_size(size_bytes: int) -> None:
    if size_bytes > MAX_REPORT_BYTES:
        raise Refused(
            f"a report of {size_bytes >> 20} MiB is larger than the {MAX_REPORT_BYTES >> 20} MiB of a version"
        )


def _described(data: bytes) -> StoredFile:
    return StoredFile(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
