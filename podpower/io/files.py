"""Atomic writes, files that are created once, and reads with a size limit."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from podpower.errors import InvalidInput
from podpower.io.leftovers import part_of
from podpower.io.places import AnyPath, explaining, is_local, is_plain, place, reaching
from podpower.io.streams import is_stream

if TYPE_CHECKING:
    from upath import UPath


@contextlib.contextmanager
def atomic_file(path: AnyPath) -> Iterator[Path]:
    """Give a local path to write to; the result appears at `path` whole, or not at all when the body raises.

    Locally the file is written beside its place, synced to disk and renamed; on object stores it is uploaded in one
    piece. A link stays and its target is written; devices and pipes stay too, such as /dev/null and /dev/stdout.
    PodpowerError when the disk is full or the place cannot be written.
    """
    if is_plain(path):
        writing = _local_file(Path(path))
    else:
        target = place(path)
        writing = _local_file(Path(str(target))) if is_local(target) else _uploaded_file(target)
    with writing as aside:
        yield aside


@contextlib.contextmanager
def _uploaded_file(target: "UPath") -> Iterator[Path]:
    with explaining(target), tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / target.name
        yield aside
        with reaching(target):
            target.fs.put_file(str(aside), target.path)


@contextlib.contextmanager
def _local_file(target: Path) -> Iterator[Path]:
    with explaining(target):
        if is_stream(target):
            with tempfile.TemporaryDirectory() as folder:
                aside = Path(folder) / "written"
                yield aside
                with target.open("wb") as stream, aside.open("rb") as whole:
                    shutil.copyfileobj(whole, stream)
        else:
            local = Path(os.path.realpath(target))
            with part_of(local) as aside:
                yield aside
                _sync(aside)
                aside.replace(local)
                _sync(local.parent)


def write_atomically(path: AnyPath, data: bytes) -> None:
    """Put `data` at `path`: readers see the old content or the new, never a part. PodpowerError as `atomic_file`."""
    target = place(path)
    if is_local(target):
        with atomic_file(target) as aside:
            aside.write_bytes(data)
    else:
        with reaching(target):
            target.fs.pipe_file(target.path, data)


def create_file(path: AnyPath, data: bytes) -> bool:
    """Put `data` at `path` unless something is there; return whether it was created. Of several writers at once one
    creates it, and readers see all of it or nothing. PodpowerError as `atomic_file`.

    Object stores decide by a conditional put (`If-None-Match`), which S3, Google Cloud Storage and Azure provide.
    """
    target = place(path)
    with reaching(target):
        try:
            if is_local(target):
                _link_unless_exists(Path(str(target)), data)
            else:
                target.fs.pipe_file(target.path, data, mode="create")
        except FileExistsError:
            if is_local(target) and not os.path.lexists(target.path):
                raise  # something is in the place of its folder
            return False
        except OSError as error:
            # A failed condition, of a store that names it less well; EBUSY is a writer at the same moment.
            if error.errno in {errno.EINVAL, errno.EBUSY} and target.exists():
                return False
            raise
    return True


def read_bounded(path: AnyPath, *, limit_bytes: int) -> bytes:
    """Return the content of `path`. InvalidInput when there is no such file or it is larger than `limit_bytes`."""
    source = place(path)
    data = read_if_exists(source, limit_bytes=limit_bytes)
    if data is None:
        raise InvalidInput(f"{source}: no such file")
    return data


def read_if_exists(path: "UPath", *, limit_bytes: int) -> bytes | None:
    """Return the content of `path`, None when there is no such file. InvalidInput when it is larger than the limit."""
    if not is_local(path):
        data = _fetched(path, most_bytes=limit_bytes + 1)
    elif exists(path):
        with opened(path) as stream:
            data = stream.read(limit_bytes + 1)
    else:
        data = None
    if data is not None and len(data) > limit_bytes:
        limit = f"{limit_bytes >> 20} MiB" if limit_bytes >= 1 << 20 else f"{limit_bytes >> 10} KiB"
        raise InvalidInput(f"{path} is larger than {limit}")
    return data


def _fetched(path: "UPath", *, most_bytes: int) -> bytes | None:
    """Return the first bytes of an object in one request, so that no writer comes between two; None without it."""
    with reaching(path):
        try:
            return bytes(path.fs.cat_file(path.path, start=0, end=most_bytes))
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:  # S3 has no range of an empty object
                return b""
            raise


@contextlib.contextmanager
def opened(path: AnyPath) -> Iterator[BinaryIO]:
    """Open a file for reading. InvalidInput when there is no such file, PodpowerError when it cannot be read."""
    source = place(path)
    with reaching(source):
        try:
            stream = source.open("rb")
        except FileNotFoundError:
            raise InvalidInput(f"{source}: no such file") from None
        except IsADirectoryError:
            raise InvalidInput(f"{source} is a folder: name a file") from None
    with explaining(source), stream:
        yield stream


def exists(path: "UPath") -> bool:
    """Return True if there is a file or folder. PodpowerError when the place does not answer."""
    with reaching(path):
        return bool(path.exists())


def children(folder: "UPath") -> "list[UPath]":
    """Return the paths in a folder without hidden ones; none where the folder does not exist."""
    with reaching(folder):
        try:
            found = list(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
    return [child for child in found if not child.name.startswith(".")]


def _link_unless_exists(target: Path, data: bytes) -> None:
    """FileExistsError when something is there."""
    with part_of(target) as aside:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(aside, target)
        _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
