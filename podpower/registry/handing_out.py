"""Handing out a model store: what a service on another machine needs of it, verified before it leaves.

The pointer, the log of promotions, promoted versions, and named files beside them; candidates and the quarantine are
not handed out, and nothing of a store that is itself read over HTTP.
"""

import hashlib
import threading
from typing import Final, NamedTuple

from podpower.errors import Refused
from podpower.io.numbered_files import NumberedFiles
from podpower.io.storages import is_handed_out
from podpower.registry.promotions import LATEST_FILE, LOG_FOLDER
from podpower.registry.store import MANIFEST_FILE, ModelStore
from podpower.registry.versions import checked_version

_MAX_FILE_BYTES: Final = 64 << 20
_MOST_DIGITS: Final = 20  # names of changes are padded to as many


class HandedOut(NamedTuple):
    """A file, and a tag that another content does not have."""

    content: bytes
    tag: str


class PromotedFiles:
    """The files of a store that services elsewhere read. Refused where there is no such file, or it is damaged."""

    def __init__(self, root: str, *, beside: frozenset[str] = frozenset()) -> None:
        """`beside`: names of files at the top of the store that are handed out too."""
        self._names = beside | {LATEST_FILE}
        self._store = None if is_handed_out(root) else ModelStore(root)
        self._lock = threading.Lock()
        self._promoted: tuple[int, frozenset[str]] = (-1, frozenset())

    def file(self, name: str) -> HandedOut | None:
        """Return the pointer or a file beside it; None where there is none."""
        if self._store is None or name not in self._names:
            return None
        return _tagged(self._store.storage.read(self._store.root / name, limit_bytes=_MAX_FILE_BYTES))

    def promotion(self, name: str) -> HandedOut | None:
        """Return a change of the log; None where there is none."""
        if self._store is None:
            return None
        number = name.removesuffix(".json")
        if not number.isdecimal() or len(number) > _MOST_DIGITS:
            return None
        path = NumberedFiles(self._store.storage, LOG_FOLDER).path(int(number))
        return _tagged(self._store.storage.read(path)) if path.name == name else None

    def promotions(self) -> list[str]:
        """Return the names of the changes of the log, oldest first."""
        if self._store is None:
            return []
        return [path.name for path in NumberedFiles(self._store.storage, LOG_FOLDER).all().values()]

    def versions(self) -> list[str]:
        """Return the promoted versions."""
        return [] if self._store is None else sorted(self._promoted_versions(self._store))

    def of_version(self, version: str, name: str) -> HandedOut | None:
        """Return a file of a promoted version, its bytes compared with its digest; None where there is none."""
        if self._store is None or checked_version(version) not in self._promoted_versions(self._store):
            return None
        info = self._store.info(version)
        if name == MANIFEST_FILE:
            return _tagged(self._store.manifest(version))
        if name not in info.files:
            return None
        return HandedOut(self._store.content(version, name), info.files[name].sha256)

    def tag_of(self, version: str, name: str) -> str | None:
        """Return the tag of a file of a version without reading it; None where only its content has one."""
        if self._store is None or name == MANIFEST_FILE:
            return None
        try:
            stored = self._store.info(version).files.get(name)
        except Refused:
            return None
        return stored.sha256 if stored else None

    def _promoted_versions(self, store: ModelStore) -> frozenset[str]:
        """Return the versions that were ever promoted; the log is read again when it has grown."""
        newest = max(NumberedFiles(store.storage, LOG_FOLDER).all(), default=0)
        with self._lock:
            if self._promoted[0] != newest:
                found = frozenset(change.version for change in store.history())
                served = store.last_served()
                self._promoted = newest, found | ({served} if served else frozenset())
            return self._promoted[1]


def _tagged(content: bytes | None) -> HandedOut | None:
    return None if content is None else HandedOut(content, hashlib.sha256(content).hexdigest())
