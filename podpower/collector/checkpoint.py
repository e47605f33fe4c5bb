"""How far a watch has come, kept beside its output, so that the next one goes on without a gap and without a repeat.

The output itself tells what was written. Beside it, `OUTPUT.state` is a log: where each stream goes on and how much of
the output had been written and posted by then, and the lines of objects that were there at the start and not written.
A line is on disk before the state says so; what comes after the state's last word is read back from the output.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
from filelock import BaseFileLock

from podpower.collector.lines import Told, told_by
from podpower.errors import InvalidInput, PodpowerError
from podpower.io.files import write_atomically
from podpower.io.locks import lock
from podpower.sources.kubernetes.list_watch import is_later


class _Checkpoint(msgspec.Struct, kw_only=True):
    """`written` and `posted` are bytes of the output."""

    versions: dict[str, str]
    written: int
    posted: int


class _Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    checkpoint: _Checkpoint | None = None
    present: str | None = None


_ENTRY = msgspec.json.Decoder(_Entry)


class Progress:
    """The output file and its state. Without a path everything is in memory and forgotten at the end."""

    def __init__(self, output: Path | None, stream: IO[bytes]) -> None:
        self._output, self._stream = output, stream
        self._state: IO[bytes] | None = None
        self._lock: BaseFileLock | None = None
        self.versions: dict[str, str] = {}
        self.lines: dict[str, bytes] = {}  # the last line of each uid that is alive
        self.gone: dict[str, str] = {}  # the resourceVersion at which a uid was deleted that can be sent again
        self.written = self.posted = 0
        self.resumed = False

    @classmethod
    def of_file(cls, output: Path) -> "Progress":
        """Go on with `output`, or begin it; a device or pipe is only written to. InvalidInput when it holds something
        else; Unavailable while another process writes it.
        """
        if output.exists() and not output.is_file():
            return cls(None, output.open("wb", buffering=0))
        output.parent.mkdir(parents=True, exist_ok=True)
        stream = output.open("a+b")
        try:
            held = lock(output, busy=f"{output} is being written by another watch: give each its own file")
        except PodpowerError:
            stream.close()
            raise
        progress = cls(output, stream)
        progress._lock = held
        progress._resume()
        return progress

    def write(self, lines: list[bytes]) -> None:
        """Append lines and give them to whoever reads along."""
        data = b"".join(lines)
        self._stream.write(data)
        self._stream.flush()
        self.written += len(data)

    def remember(self, line: bytes) -> None:
        """Keep `line` as the last one of its object."""
        told = told_by(line)
        if told.event == "DELETED":
            self.lines.pop(told.uid, None)
        else:
            self.lines[told.uid] = line

    def present(self, line: bytes) -> None:
        """An object that was there at the start; its line is kept and not written."""
        self.remember(line)
        if self._state is not None:
            self._state.write(msgspec.json.encode(_Entry(present=line.decode())) + b"\n")

    def checkpoint(self, *, posts: bool) -> None:
        """Make what was written last, and say so in the state."""
        if self._state is None or self._output is None:
            return
        os.fsync(self._stream.fileno())
        posted = self.posted if posts else self.written
        said = _Checkpoint(versions=self.versions, written=self.written, posted=posted)
        self._state.write(msgspec.json.encode(_Entry(checkpoint=said)) + b"\n")
        self._state.flush()
        os.fsync(self._state.fileno())

    def unposted(self) -> Iterator[bytes]:
        """Lines that were written and not posted when the last watch ended."""
        if self._output is not None and self.resumed:
            with self._output.open("rb") as stream:
                stream.seek(self.posted)
                yield from stream

    def known(self, resource: str, namespace: str | None) -> dict[str, str]:
        """The resourceVersion of each uid of a stream."""
        told = map(told_by, self.lines.values())
        return {t.uid: t.resource_version for t in told if t.resource == resource and namespace in {None, t.namespace}}

    def close(self) -> None:
        """Close both files and release the lock."""
        for stream in (self._state, self._stream if self._output else None):
            if stream is not None:
                stream.close()
        if self._lock is not None:
            self._lock.release()

    @property
    def _state_path(self) -> Path:
        return Path(f"{self._output}.state")

    def _resume(self) -> None:
        reached = _Checkpoint(versions={}, written=0, posted=0)
        present: list[bytes] = []
        if self._state_path.exists():
            self.resumed = True
            for entry in _entries(self._state_path):
                reached = entry.checkpoint or reached
                if entry.present is not None:
                    present.append(entry.present.encode())
        for line in present:
            self.remember(line)
        self._read_back(reached)
        self.versions, self.posted = reached.versions, min(reached.posted, self.written)
        if reached.written > self.written:
            self.versions = {}  # the output was cut or replaced: list again
        # The log begins anew with what is still needed of it.
        still = [line for line in present if self.lines.get(told_by(line).uid) == line]
        entries = [_Entry(present=line.decode()) for line in still]
        if self.resumed:
            said = _Checkpoint(versions=self.versions, written=min(reached.written, self.written), posted=self.posted)
            entries.append(_Entry(checkpoint=said))
        write_atomically(self._state_path, b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
        self._state = self._state_path.open("ab")

    def _read_back(self, reached: _Checkpoint) -> None:
        """What the output says. A last line without its end was not written."""
        position = 0
        self._stream.seek(0)
        for number, line in enumerate(self._stream, start=1):
            if not line.endswith(b"\n"):
                self._stream.truncate(position)
                break
            position += len(line)
            told = self._told(line, number)
            self.remember(line)
            if told.event == "DELETED" and is_later(told.resource_version, _resumed_at(told, reached.versions)):
                self.gone[told.uid] = told.resource_version
        self.written = position

    def _told(self, line: bytes, number: int) -> Told:
        try:
            return told_by(line)
        except ValueError:
            raise InvalidInput(
                f"{self._output}: line {number} was not written by `collect watch`: name another file, or move this one"
            ) from None


def _resumed_at(told: Told, versions: dict[str, str]) -> str | None:
    """Where the stream of a line goes on: one of all namespaces, or of the line's."""
    return versions.get(f"{told.resource}@", versions.get(f"{told.resource}@{told.namespace}"))


def _entries(path: Path) -> Iterator[_Entry]:
    with path.open("rb") as stream:
        for line in stream:
            try:
                yield _ENTRY.decode(line)
            except ValueError:
                return  # a crash left the last one half-written
