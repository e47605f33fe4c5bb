"""Files of a journal in a folder or an object store: whole objects, most of them created once."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from podpower.errors import InvalidInput, Unavailable
from podpower.io.files import create_file
from podpower.io.places import AnyPath, is_local, place, reaching
from podpower.sources.journal.format import (
    FLUSHES,
    FORMAT,
    FORMAT_VERSION,
    HOURS,
    META,
    JournalMeta,
    events_name,
    flush_name,
    snapshot_name,
    unsealed,
)

_MOST_BYTES = 8 << 30
_HEAD_BYTES = 64 << 10  # most headers are shorter


class JournalFiles:
    """Objects below `url`, by their names. Unavailable when the place does not answer."""

    def __init__(self, url: AnyPath) -> None:
        self.root = place(str(url).removeprefix("file://"))

    @property
    def folder(self) -> Path | None:
        """The local folder; None on an object store."""
        return Path(str(self.root)) if is_local(self.root) else None

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes | None:
        """Return an object; None where there is none."""
        return self.read_many([name])[0]

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Return objects in the order of their names, from an object store several at a time."""
        with reaching(self.root):
            if self.folder is not None:
                return [_content(self.folder / name) for name in names]
            # With a range s3fs sends one request; without, it asks for the size first.
            found = self.root.fs.cat_ranges([self._path(name) for name in names], 0, _MOST_BYTES, on_error="return")
        for value in found:
            if isinstance(value, Exception) and not isinstance(value, FileNotFoundError):
                raise Unavailable(f"{self.root} does not answer: {value}") from value
        return [value if isinstance(value, bytes) else None for value in found]

    def first_line(self, name: str) -> bytes | None:
        """Return the first line of an object; None where there is no object."""
        with reaching(self.root):
            try:
                if self.folder is not None:
                    with (self.folder / name).open("rb") as stream:
                        return stream.readline()
                data: bytes = self.root.fs.cat_file(self._path(name), start=0, end=_HEAD_BYTES)
            except FileNotFoundError:
                return None
        line, end, _rest = data.partition(b"\n")
        if not end and len(data) == _HEAD_BYTES:
            whole = self.read(name)
            return whole.partition(b"\n")[0] + b"\n" if whole is not None else None
        return line + end

    def create(self, name: str, data: bytes) -> bool:
        """Create an object; False where it exists already, which stays as it is."""
        return create_file(self.root / name, data)

    def flushes(self) -> list[int]:
        """Return the sequences of the flushes that are kept, in order."""
        stems = [name.removesuffix(".ndjson") for name in self._names(FLUSHES) if name.endswith(".ndjson")]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def hours(self) -> list[str]:
        """Return the hours that have objects, oldest first."""
        return sorted(name for name in self._names(HOURS) if not name.startswith("."))

    def remove_flushes(self, sequences: Sequence[int]) -> None:
        """Remove flushes."""
        self._remove([flush_name(sequence) for sequence in sequences])

    def remove_hour(self, hour: str) -> None:
        """Remove the objects of an hour, the snapshot last."""
        self._remove([events_name(hour)])
        self._remove([snapshot_name(hour)])
        if self.folder is not None:
            with contextlib.suppress(OSError):
                (self.folder / HOURS / hour).rmdir()

    def remove_parts(self) -> None:
        """Remove what writers that were killed left half-written; only in folders do such files exist."""
        if self.folder is not None:
            for left in self.folder.rglob(".*.part"):
                left.unlink(missing_ok=True)

    def meta(self) -> JournalMeta | None:
        """Return journal.json; None where there is none. InvalidInput where it is damaged or of another version."""
        data = self.read(META)
        if data is None:
            return None
        meta = unsealed(data, JournalMeta)
        if meta is None:
            raise InvalidInput(f"{self.root / META} is damaged: restore it from a backup, or name another place")
        if meta.format != FORMAT or meta.format_version != FORMAT_VERSION:
            raise InvalidInput(
                f"{self.root}: format {meta.format} {meta.format_version} is not {FORMAT} {FORMAT_VERSION}: use the "
                "version of podpower that wrote it, or a newer one"
            )
        return meta

    def _names(self, folder: str) -> list[str]:
        with reaching(self.root):
            self.root.fs.invalidate_cache()  # object stores remember listings; another process writes
            try:
                found = self.root.fs.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
        return [str(path).rstrip("/").rpartition("/")[2] for path in found]

    def _remove(self, names: Sequence[str]) -> None:
        if not names:
            return
        with reaching(self.root):
            if self.folder is not None:
                for name in names:
                    (self.folder / name).unlink(missing_ok=True)
                return
            with contextlib.suppress(FileNotFoundError):
                self.root.fs.rm([self._path(name) for name in names])

    def _path(self, name: str) -> str:
        return str((self.root / name).path)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
