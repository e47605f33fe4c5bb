"""Small files below one root, a local folder or an object store: read, listed, and changed one process at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from upath import UPath

from podpower.errors import InvalidInput, PodpowerError, Refused, Unavailable
from podpower.io.files import AnyPath, create_file, is_local, place, read_bounded
from podpower.io.locks import WAIT_SECONDS, lock

_MAX_JSON_BYTES = 4 << 20
T = TypeVar("T")


class ObjectStorage:
    """Small files below `root`. Unavailable when the place does not answer."""

    def __init__(self, root: AnyPath) -> None:
        """InvalidInput when there is a file in its place."""
        self.root = place(root)
        if is_local(self.root) and Path(str(self.root)).is_file():
            raise InvalidInput(f"{self.root} is a file, and a model store is a folder")

    def read(self, path: UPath, *, limit_bytes: int = _MAX_JSON_BYTES) -> bytes | None:
        """Return the bytes of a file; None where there is none. Refused when it may not be read or is too large."""
        self.root.fs.invalidate_cache()  # object stores remember listings; other processes write too
        with self._reaching():
            if not path.exists():
                return None
            try:
                return read_bounded(path, limit_bytes=limit_bytes)
            except InvalidInput as error:
                raise Refused(str(error)) from None

    def create(self, path: UPath, data: bytes) -> bool:
        """Put `data` at `path`, whole; False when something is there already, which stays as it is."""
        with self._reaching():
            return create_file(path, data)

    def size_bytes(self, path: UPath) -> int | None:
        """Return the size of a file; None where there is none."""
        self.root.fs.invalidate_cache()
        with self._reaching():
            return path.stat().st_size if path.exists() else None

    def children(self, name: str) -> list[UPath]:
        """Return the names in a folder without hidden ones; none where the folder does not exist."""
        self.root.fs.invalidate_cache()
        with self._reaching():
            try:
                found = list((self.root / name).iterdir())
            except (FileNotFoundError, NotADirectoryError):
                return []
        return [child for child in found if not child.name.startswith(".")]

    def remove(self, folder: UPath, *, first: str) -> None:
        """Remove a folder, the file `first` before all others."""
        with self._reaching():
            (folder / first).unlink()
            folder.fs.rm(folder.path, recursive=True)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """One change at a time. Object stores know no locks: there the last of two wins."""
        folder = Path(str(self.root))
        if not is_local(self.root) or not folder.is_dir():
            yield
            return
        with lock(
            folder / ".lock", wait_seconds=WAIT_SECONDS, busy=f"{folder} is locked by another process: try again"
        ):
            yield

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except PodpowerError:
            raise
        except PermissionError as error:
            raise Refused(f"cannot access {error.filename or self.root}: {error.strerror or error}") from None
        except OSError as error:
            raise Unavailable(f"{self.root} does not answer: {' '.join(str(error).split())}") from error


def encoded(value: msgspec.Struct) -> bytes:
    """JSON. InvalidInput when something in it is no plain value."""
    try:
        return msgspec.json.encode(value)
    except TypeError as error:
        raise InvalidInput(f"metadata must be plain JSON values: {error}") from None


def decoded(data: bytes, kind: type[T], *, what: str) -> T:
    """Return a value of this kind. Refused, naming `what`, when the bytes are something else, or no text at all."""
    try:
        return msgspec.json.decode(data, type=kind)
    except ValueError as error:
        raise Refused(f"{what} is damaged ({error})") from None
