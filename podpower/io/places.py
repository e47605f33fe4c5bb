"""Places of files: local paths, and URLs of object stores (s3://, gs://, az://)."""

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

from podpower.errors import InvalidInput, PodpowerError, Unavailable
from podpower.extras import how_to_install

if TYPE_CHECKING:
    from upath import UPath

AnyPath: TypeAlias = "UPath | Path | str"

_LOCAL: Final = frozenset({"", "file", "local"})
# Each scheme with the extra of podpower that reads it; memory:// needs none.
_EXTRAS: Final = {
    "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az", "memory": "",
}  # fmt: skip
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?P<slashes>/+)")
_KNOWN_URLS: Final = "a path, s3://, gs:// or az://"
_MOST_SHOWN = 300


def place(path: AnyPath) -> "UPath":
    """Return a path or URL as the object that it is read and written through. InvalidInput for an unknown scheme,
    Unavailable where the package of a scheme is not installed.
    """
    from upath import UPath  # noqa: PLC0415  # 30 ms, for which a local file need not wait

    if isinstance(path, UPath):
        return path
    scheme = scheme_of(path)
    if scheme in _LOCAL:
        return UPath(path)
    try:
        # Object stores remember listings; other processes write too.
        found = UPath(path) if scheme == "memory" else UPath(path, use_listings_cache=False)
        _ = found.fs  # fsspec imports the package of a scheme here
    except ImportError as error:
        raise Unavailable(f"{scheme}:// needs one more package: {how_to_install(_EXTRAS[scheme])}") from error
    except Exception as error:  # each package checks credentials and addresses with exceptions of its own
        raise InvalidInput(f"{path} cannot be used: {_one_line(error)}") from error
    return found


def scheme_of(path: AnyPath) -> str:
    """Return the scheme of a URL, "" of a local path. InvalidInput where podpower reads no such URL.

    >>> scheme_of("s3://bucket/podpower"), scheme_of("/data"), scheme_of("data:old")
    ('s3', '', '')
    """
    found = _URL.match(str(path))
    if found is None:
        return ""
    scheme = found["scheme"].lower()
    if scheme not in _EXTRAS and scheme not in _LOCAL:
        raise InvalidInput(f"{path} cannot be used: {scheme}:// is not known; give {_KNOWN_URLS}")
    if len(found["slashes"]) == 1 and scheme not in _LOCAL:
        raise InvalidInput(f"{path} has one slash after the scheme: write {scheme}://")
    return scheme


def is_url(path: AnyPath) -> bool:
    """Return True for the URL of an object store. InvalidInput for a URL of an unknown scheme."""
    return scheme_of(path) not in _LOCAL


def local_folder(path: AnyPath, *, what: str) -> Path:
    """Return a local path. InvalidInput, naming `what` needs it, for the URL of an object store."""
    if is_url(path):
        raise InvalidInput(f"{path} is a URL, and {what} needs a local folder")
    return Path(str(path).removeprefix("file://"))


def check_bucket(url: AnyPath) -> None:
    """Return if the bucket or container of a URL exists, or cannot be listed. InvalidInput, naming it, where it does
    not exist: object stores list the folders of such a one as empty.
    """
    found = place(url)
    bucket = found.path.strip("/").partition("/")[0]
    if not bucket or found.protocol == "memory":
        return
    with reaching(found), contextlib.suppress(PermissionError):
        try:
            found.fs.ls(bucket, detail=False)
        except FileNotFoundError:
            raise InvalidInput(f"{found}: there is no bucket {bucket!r}: create it, or correct the URL") from None


def is_plain(path: AnyPath) -> TypeGuard[str | Path]:
    """Return True for a path that is no URL, and so needs no `place`. InvalidInput for a URL of an unknown scheme."""
    return isinstance(path, str | Path) and not scheme_of(path)


def is_local(path: "UPath | Path") -> bool:
    """Return True if the path is in a local file system, where rename is atomic."""
    return isinstance(path, Path) or path.protocol in _LOCAL


@contextlib.contextmanager
def explaining(path: "UPath | Path") -> Iterator[None]:
    """Raise a PodpowerError that names the path in place of an OSError inside: InvalidInput where access is denied or a
    bucket does not exist, Unavailable where an object store does not answer.
    """
    try:
        yield
    except OSError as error:
        raise _explained(error, path) from error


@contextlib.contextmanager
def reaching(path: "UPath | Path") -> Iterator[None]:
    """Do the same for every error of an object store's package; only calls of the file system belong inside."""
    try:
        with explaining(path):
            yield
    except PodpowerError:
        raise
    except Exception as error:  # each package raises exceptions of its own
        if is_local(path):
            raise
        raise Unavailable(f"{path} does not answer: {_one_line(error)}") from error


def _explained(error: OSError, path: "UPath | Path") -> PodpowerError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return PodpowerError(
            f"no room to write {path}: free some space and run it again; nothing was left half-written"
        )
    reason = f"cannot access {path}: {error.strerror or _one_line(error)}"
    if isinstance(error, PermissionError | FileNotFoundError):
        return InvalidInput(reason)
    return PodpowerError(reason) if is_local(path) else Unavailable(reason)


def _one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks, cut to a length for people."""
    return " ".join(str(error).split())[:_MOST_SHOWN] or type(error).__name__
