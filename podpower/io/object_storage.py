"""Small files below one root, a local folder or an object store. Writers exclude each other by creating files once."""

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
from upath import UPath

from podpower.errors import InvalidInput, Refused
from podpower.io.files import children, create_file, read_if_exists, write_atomically
from podpower.io.places import AnyPath, is_local, place, reaching
from podpower.io.sealed_json import MAX_BYTES
from podpower.io.streams import check_no_stream

_AT_ONCE = 16
T = TypeVar("T")


class ObjectStorage:
    """Small files below `root`. Unavailable when the place does not answer."""

    def __init__(self, root: AnyPath) -> None:
        """InvalidInput when there is a file in its place."""
        self.root = place(root)
        if is_local(self.root) and Path(str(self.root)).is_file():
            raise InvalidInput(f"{self.root} is a file, and a model store is a folder")

    def read(self, path: UPath, *, limit_bytes: int = MAX_BYTES) -> bytes | None:
        """Return the bytes of a file; None where there is none. Refused when it may not be read, is too large, or is a
        pipe or a device, which nobody may ever write to.
        """
        if is_local(path):
            check_no_stream(Path(str(path)))
        try:
            return read_if_exists(path, limit_bytes=limit_bytes)
        except InvalidInput as error:
            raise Refused(str(error)) from None

    def read_all(self, paths: Sequence[UPath]) -> list[bytes | None]:
        """Return the bytes of several files as `read` does; of an object store many at once."""
        if is_local(self.root):
            return [self.read(path) for path in paths]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self.read, paths))

    def create(self, path: UPath, data: bytes) -> bool:
        """Put `data` at `path`, whole; False when something is there already, which stays as it is."""
        return create_file(path, data)

    def write(self, path: UPath, data: bytes) -> None:
        """Put `data` at `path`, whole, in place of what is there."""
        write_atomically(path, data)

    def size_bytes(self, path: UPath) -> int | None:
        """Return the size of a file; None where there is none."""
        with reaching(path):
            return path.stat().st_size if path.exists() else None

    def children(self, name: str) -> list[UPath]:
        """Return the paths in a folder without hidden ones; none where the folder does not exist."""
        return children(self.root / name)

    def idle_s(self, folder: UPath) -> float:
        """Return the seconds since a file in the folder was last written; 0 where it is empty."""
        with reaching(folder):
            times = []
            for child in folder.iterdir():
                with contextlib.suppress(FileNotFoundError):  # its writer has given it its name meanwhile
                    times.append(child.stat().st_mtime)
        return time.time() - max(times) if times else 0.0

    def unlink(self, path: UPath) -> None:
        """Remove a file; nothing where there is none."""
        with reaching(path):
            path.unlink(missing_ok=True)

    def remove(self, folder: UPath) -> None:
        """Remove a folder and everything below it; nothing where there is none."""
        with reaching(folder), contextlib.suppress(FileNotFoundError):
            folder.fs.rm(folder.path, recursive=True)


def encoded(value: msgspec.Struct) -> bytes:
    """Return JSON. InvalidInput when something in it is no plain value."""
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
