"""The output of `collect watch`, which is its own memory.

A watch that starts again reads back which objects the output has. The checkpoint beside it holds where each stream
resumes, how much was posted, and the lines of objects that existed at the start and were not written.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from filelock import BaseFileLock

from podpower.collector.checkpoint import Checkpoint, CheckpointFile
from podpower.collector.known import Known, covers
from podpower.collector.lines import LineKey, line_key
from podpower.errors import InvalidInput, PodpowerError
from podpower.io.locks import lock
from podpower.sources.kubernetes.list_watch import Stream


class Output:
    """An output and the last line of each object. Without a path, nothing is kept for the next watch."""

    def __init__(self, path: Path | None, stream: IO[bytes]) -> None:
        self.path, self._stream = path, stream
        self.written = 0
        self.lines: dict[str, bytes] = {}  # the last line of each uid that is alive
        self._unwritten: dict[str, bytes] = {}  # those of them that are only in the checkpoint
        self._known: defaultdict[tuple[str, str], Known] = defaultdict(Known)  # by resource and namespace
        self._state: CheckpointFile | None = None
        self._lock: BaseFileLock | None = None
        self.resumed = False

    @classmethod
    def of_file(cls, path: Path) -> "Output":
        """Continue the file, or begin it; a device or pipe is only written to. InvalidInput when it holds something
        else; Unavailable while another process writes it.
        """
        if path.exists() and not path.is_file():
            return cls(None, path.open("wb", buffering=0))
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+b")
        try:
            held = lock(path, busy=f"{path} is being written by another watch: give each its own file")
        except PodpowerError:
            stream.close()
            raise
        output = cls(path, stream)
        output._lock = held
        output._resume(path)
        return output

    @property
    def last(self) -> Checkpoint:
        """The last checkpoint."""
        return self._state.last if self._state else Checkpoint()

    def known(self, stream: Stream) -> Known:
        """Return what the output has of a stream."""
        found = Known(reached=self.last.versions.get(stream.key))
        for (resource, namespace), known in self._known.items():
            if resource == stream.kind.key and stream.namespace in {None, namespace}:
                found.alive |= known.alive
                found.gone |= {u: v for u, v in known.gone.items() if not covers(found.reached, v)}
        return found

    def write(self, lines: list[bytes]) -> None:
        """Append lines and flush them, so that readers see them."""
        data = b"".join(lines)
        self._stream.write(data)
        self._stream.flush()
        self.written += len(data)

    def remember(self, line: bytes) -> LineKey:
        """Keep a line as the last one of its object; return its key."""
        key = line_key(line)
        self._unwritten.pop(key.uid, None)
        if key.event == "DELETED":
            self.lines.pop(key.uid, None)
        else:
            self.lines[key.uid] = line
        return key

    def keep_unwritten(self, line: bytes) -> None:
        """Keep the line of an object that existed at the start, in the checkpoint only."""
        key = self.remember(line)
        if self._state is not None:
            self._unwritten[key.uid] = line
            self._state.keep(line)

    def checkpoint(self, versions: Mapping[str, str], *, posted: int | None) -> None:
        """Put on disk what was written, then where the streams resume. `posted`: bytes; None where nothing posts."""
        if self._state is None:
            return
        os.fsync(self._stream.fileno())
        last = Checkpoint(
            versions={**self.last.versions, **versions}, written=self.written,
            posted=self.written if posted is None else posted,
        )  # fmt: skip
        self._state.write(last, unwritten=self._unwritten.values())

    def unposted(self) -> Iterator[bytes]:
        """Yield the lines that earlier watches wrote and did not post."""
        if self.path is None or not self.resumed:
            return
        position, end = self.last.posted, self.last.written
        with self.path.open("rb") as stream:
            stream.seek(position)
            while position < end:
                line = stream.readline()
                position += len(line)
                yield line

    def close(self) -> None:
        """Close the output and its checkpoint, and release the lock."""
        if self._state is not None:
            self._state.close()
        if self.path is not None:
            self._stream.close()
        if self._lock is not None:
            self._lock.release()

    def _resume(self, path: Path) -> None:
        state = self._state = CheckpointFile(Path(f"{path}.state"))
        self.resumed = state.exists
        for line in state.unwritten:
            self._unwritten[self._put(line).uid] = line
        self._read_back()
        reached = state.last
        cut = reached.written > self.written  # the output was cut or replaced: every stream lists again
        versions = {} if cut else reached.versions
        last = Checkpoint(versions=versions, written=self.written, posted=min(reached.posted, self.written))
        state.begin(last if state.exists else None, self._unwritten.values())

    def _read_back(self) -> None:
        """Take in the lines of the output. A last line without its end is cut off: it was not written."""
        position = 0
        self._stream.seek(0)
        for number, line in enumerate(self._stream, start=1):
            if not line.endswith(b"\n"):
                self._stream.truncate(position)
                break
            position += len(line)
            try:
                self._put(line)
            except ValueError:
                raise InvalidInput(
                    f"{self.path}: line {number} was not written by `collect watch`: name another file, or move this "
                    "one"
                ) from None
        self.written = position

    def _put(self, line: bytes) -> LineKey:
        key = self.remember(line)
        known = self._known[key.resource, key.namespace]
        if key.event == "DELETED":
            known.alive.pop(key.uid, None)
            if not self._is_behind(key):
                known.gone[key.uid] = key.resource_version
        else:
            known.alive[key.uid] = key.resource_version
        return key

    def _is_behind(self, key: LineKey) -> bool:
        """Return whether every stream of a line resumes after it."""
        names = (f"{key.resource}@", f"{key.resource}@{key.namespace}")
        versions = [self.last.versions[name] for name in names if name in self.last.versions]
        return bool(versions) and all(covers(version, key.resource_version) for version in versions)
