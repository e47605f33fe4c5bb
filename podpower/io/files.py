"""Atomic writes, and reads with a size limit."""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from upath import UPath

from podpower.errors import InvalidInput, PodpowerError, Unavailable

AnyPath = UPath | Path | str


@contextlib.contextmanager
def atomic_file(path: AnyPath) -> Iterator[Path]:
    """Gives a local path to write to; what was written appears at `path` whole, or not at all when the body raises.

    Locally the file is written beside its place, synced to disk and renamed; on object stores it is uploaded in one
    put. A link stays and what it points to is written; so stay devices and pipes, such as /dev/null and /dev/stdout.
    PodpowerError when the disk is full or the place cannot be written.
    """
    target = place(path)
    try:
        if is_local(target) and is_stream(Path(str(target))):
            with tempfile.TemporaryDirectory() as folder:
                aside = Path(folder) / "written"
                yield aside
                with Path(str(target)).open("wb") as stream, aside.open("rb") as whole:
                    shutil.copyfileobj(whole, stream)
        elif is_local(target):
            with _beside(Path(os.path.realpath(str(target)))) as aside:
                yield aside
        else:
            with tempfile.TemporaryDirectory() as folder:
                aside = Path(folder) / target.name
                yield aside
                target.write_bytes(aside.read_bytes())
    except OSError as error:
        raise _explained(error, target) from error


def write_atomically(path: AnyPath, data: bytes) -> None:
    """Put `data` at `path`: readers see the old content or the new, never a part. PodpowerError as `atomic_file`."""
    with atomic_file(path) as aside:
        aside.write_bytes(data)


def create_file(path: AnyPath, data: bytes) -> bool:
    """Put `data` at `path` unless something is there; return whether it was created. Of several writers at once one
    creates it, and readers see all of it or nothing. PodpowerError as `atomic_file`.

    Object stores decide by a conditional put (`If-None-Match`), which S3, Google Cloud Storage and Azure provide.
    """
    target = place(path)
    try:
        if is_local(target):
            return _link_unless_exists(Path(str(target)), data)
        target.fs.pipe_file(target.path, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno == errno.EINVAL and _exists_now(
            target
        ):  # a failed condition, of a store that names it less well
            return False
        raise _explained(error, target) from error
    return True


def read_bounded(path: AnyPath, *, limit_bytes: int) -> bytes:
    """Return the content of `path`. InvalidInput when there is no such file or it is larger than `limit_bytes`."""
    with opened(path) as stream:
        data = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise InvalidInput(f"{place(path)} is larger than {limit_bytes >> 20} MiB")
    return data


@contextlib.contextmanager
def opened(path: AnyPath) -> Iterator[BinaryIO]:
    """Open a file for reading. InvalidInput when there is no such file, PodpowerError when it cannot be read."""
    source = place(path)
    try:
        with source.open("rb") as stream:
            yield stream
    except FileNotFoundError:
        raise InvalidInput(f"{source}: no such file") from None
    except IsADirectoryError:
        raise InvalidInput(f"{source} is a folder: name a file") from None
    except OSError as error:
        raise _explained(error, source) from error


def place(path: AnyPath) -> UPath:
    """Return a path or URL as what it is read and written through. Unavailable where that is not installed,
    InvalidInput for a scheme that is not known.
    """
    try:
        found = UPath(path)
        _ = found.fs  # where a file system needs a package, this raises an error
    except ImportError as error:
        scheme = str(path).partition("://")[0]
        extra = {"s3a": "s3", "gcs": "gs"}.get(scheme, scheme)
        raise Unavailable(f"{scheme}:// needs one more package: pip install 'podpower[{extra}]'") from error
    except ValueError as error:
        raise InvalidInput(f"{path} cannot be read ({error}): give a path, s3:// or gs://") from error
    return found


def is_local(path: UPath) -> bool:
    """Return True if the path is in a local file system, where rename is atomic."""
    return path.protocol in {"", "file", "local"}


def is_stream(path: Path) -> bool:
    """Return True if the path is a device, pipe or socket, which is written to and never replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(descriptor)
    aside = Path(name)
    try:
        yield aside
        _sync(aside)
        aside.chmod(0o644)
        aside.replace(target)
        _sync(target.parent)
    finally:
        aside.unlink(missing_ok=True)


def _link_unless_exists(target: Path, data: bytes) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.chmod(0o644)
        os.link(aside, target)
        _sync(target.parent)
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def _exists_now(path: UPath) -> bool:
    path.fs.invalidate_cache()
    return bool(path.exists())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError, path: UPath) -> PodpowerError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return PodpowerError(
            f"no room to write {path}: free some space and run it again; nothing was left half-written"
        )
    reason = f"cannot access {path}: {error.strerror or error}"
    return InvalidInput(reason) if error.errno in {errno.EACCES, errno.EPERM} else PodpowerError(reason)
