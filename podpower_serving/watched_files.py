"""Files that are used as they were read until others are in their place that can be read, too."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from podpower.errors import PodpowerError

T = TypeVar("T")

State = list[tuple[int, int, int] | None]  # times, sizes and numbers of files


@dataclass(frozen=True, kw_only=True)
class SeenFiles(Generic[T]):
    """The files at one look: their state, and what was read because it changed, or why nothing could be."""

    state: State
    content: T | None = None
    error: str | None = None


class WatchedFiles(ABC, Generic[T]):
    """Files that change, also behind a replaced symbolic link. Broken ones change nothing, and are reported once."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._state = self._current()
        self._problem: object = None

    def look(self) -> SeenFiles[T]:
        """Read the files if they changed, until that succeeds."""
        state = self._current()
        if state == self._state:
            return SeenFiles(state=state)
        try:
            return SeenFiles(state=state, content=self._read())
        except PodpowerError as error:
            return SeenFiles(state=state, error=str(error))

    def take(self, seen: SeenFiles[T]) -> None:
        """Use what was read, if anything."""
        if seen.error is not None:
            self._report_once(seen.error, state=seen.state)
            return
        self._problem = None
        if seen.content is not None:
            self._state = seen.state
            self._use(seen.content)

    def refuse(self, detail: str) -> None:
        """Report why the files are not read; once while that stays."""
        self._report_once(detail, state=None)

    @abstractmethod
    def _read(self) -> T:
        """Return the content of the files. PodpowerError when it cannot be used."""

    @abstractmethod
    def _use(self, content: T) -> None:
        """Use a content that is new."""

    @abstractmethod
    def _report(self, detail: str) -> None:
        """Report why the content of before is still used."""

    def _report_once(self, detail: str, *, state: State | None) -> None:
        if (state, detail) != self._problem:
            self._problem = state, detail
            self._report(detail)

    def _current(self) -> State:
        return [_state_of(path) for path in self._paths]


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
