"""The checkpoint of a sink: where each stream resumes, kept as a log beside what the sink writes.

A sink puts data on disk first and its checkpoint second. After a crash the streams resume at the last checkpoint, the
server repeats what came later, and `podpower.collector.known` drops what the sink has already.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from podpower.io.files import write_atomically
from podpower.sources.kubernetes.list_watch import is_earlier

_ENTRIES = 1000  # the log is rewritten after so many checkpoints


class Checkpoint(msgspec.Struct, kw_only=True, frozen=True):
    """`versions`: the resourceVersion at which each stream resumes. `written` and `posted`: bytes of an output."""

    versions: dict[str, str] = {}
    written: int = 0
    posted: int = 0


class _Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    checkpoint: Checkpoint | None = None
    present: str | None = None


_ENTRY = msgspec.json.Decoder(_Entry)


class CheckpointFile:
    """The log at `path`. `unwritten` are lines of objects that the first list found and the output does not have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exists = path.exists()
        self.last = Checkpoint()
        self.unwritten: list[bytes] = []
        self._stream: IO[bytes] | None = None
        self._entries = 0
        for entry in _read(path) if self.exists else ():
            self.last = entry.checkpoint or self.last
            if entry.present is not None:
                self.unwritten.append(entry.present.encode())

    def begin(self, last: Checkpoint | None, unwritten: Iterable[bytes] = ()) -> None:
        """Rewrite the log with a checkpoint and the unwritten lines that are still needed."""
        self.unwritten.clear()
        entries = [_Entry(present=line.decode()) for line in unwritten]
        if last is not None:
            entries.append(_Entry(checkpoint=last))
            self.last = last
        self.close()
        for left in self.path.parent.glob(f".{self.path.name}.*.part"):  # of a write that was killed
            left.unlink()
        write_atomically(self.path, b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
        self._stream = self.path.open("ab")
        self._entries = 0

    def keep(self, line: bytes) -> None:
        """Add an unwritten line; the next checkpoint puts it on disk."""
        self._append(_Entry(present=line.decode()))

    def write(self, checkpoint: Checkpoint, *, unwritten: Iterable[bytes] = ()) -> None:
        """Put a checkpoint on disk where it differs from the last one. `unwritten`: the lines that are still needed."""
        if checkpoint == self.last:
            return
        self._entries += 1
        if self._entries > _ENTRIES:
            self.begin(checkpoint, unwritten)
            return
        self._append(_Entry(checkpoint=checkpoint))
        if self._stream is not None:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self.last = checkpoint

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def _append(self, entry: _Entry) -> None:
        if self._stream is None:
            raise ValueError("the log has not begun")
        self._stream.write(msgspec.json.encode(entry) + b"\n")


def earliest(checkpoints: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the versions from which none of several sinks misses anything. A stream is absent, so that it lists, where
    a sink has no version of it or versions have no order.
    """
    first, *others = checkpoints
    found: dict[str, str] = dict(first)
    for versions in others:
        pairs = [(key, version, versions.get(key)) for key, version in found.items()]
        found = {key: a if a == b or is_earlier(a, b) else b for key, a, b in pairs if b is not None and _ordered(a, b)}
    return found


def _ordered(a: str, b: str) -> bool:
    return a == b or is_earlier(a, b) or is_earlier(b, a)


def _read(path: Path) -> Iterator[_Entry]:
    with path.open("rb") as stream:
        for line in stream:
            try:
                yield _ENTRY.decode(line)
            except ValueError:
                return  # a crash cut this line
