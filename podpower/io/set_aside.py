"""Damaged files, set aside: moved into the folder `damaged` beside them, under a name with their digest.

Whoever meets one moves it, so that nothing else meets it. A file that was written anew meanwhile is put back.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Final

from upath import UPath

from podpower.errors import Damaged, PodpowerError
from podpower.io.files import children, create_file, read_bounded
from podpower.io.places import is_local, reaching

FOLDER: Final = "damaged"
_MAX_BYTES: Final = 8 << 30
_NAME: Final = re.compile(r"(?P<name>.+)\.[0-9a-f]{8}(?P<suffix>\.parquet|\.verdict\.json)")


def set_aside(path: UPath, verify: Callable[[UPath], object]) -> UPath | None:
    """Move a file that `verify` found damaged, and return where it is now; None where it was replaced by a whole one,
    or is gone. PodpowerError where it cannot be moved.
    """
    try:
        content = read_bounded(path, limit_bytes=_MAX_BYTES)
    except PodpowerError:
        return None
    name, _, suffix = path.name.partition(".")
    target = path.parent / FOLDER / f"{name}.{hashlib.sha256(content).hexdigest()[:8]}.{suffix}"
    _move(path, target)
    try:
        verify(target)
    except Damaged:
        return target
    create_file(path, read_bounded(target, limit_bytes=_MAX_BYTES))
    with reaching(target), contextlib.suppress(FileNotFoundError):
        target.unlink()
    return None


@contextlib.contextmanager
def setting_aside(path: UPath, verify: Callable[[UPath], object]) -> Iterator[None]:
    """Set a file aside that a reader within the block finds damaged; the error adds where it is kept."""
    try:
        yield
    except Damaged as error:
        moved = None
        with contextlib.suppress(PodpowerError):  # the damage is what matters
            moved = set_aside(path, verify)
        if moved is None:
            raise
        what, remedy, command = str(error).partition("; make it again")
        raise Damaged(f"{what}; kept as {moved}{remedy}{command}") from error


def damaged_files(folder: UPath) -> dict[str, list[UPath]]:
    """Return the files that were set aside in a folder, by the name that they had there."""
    found: dict[str, list[UPath]] = {}
    for path in sorted(children(folder / FOLDER), key=lambda one: one.name):
        if known := _NAME.fullmatch(path.name):
            found.setdefault(f"{known['name']}{known['suffix']}", []).append(path)
    return found


def _move(source: UPath, target: UPath) -> None:
    with reaching(source):
        if is_local(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            os.utime(str(target))  # from when on it is kept, for its retention
        else:
            source.fs.mv(source.path, target.path)
