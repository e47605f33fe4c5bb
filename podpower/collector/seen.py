"""Times at which the streams of a watch were last seen: up to when the cluster is known, and the gaps."""

from collections.abc import Iterable

from podpower.sources.journal.format import Gap
from podpower.sources.kubernetes.list_watch import Event, Interrupted, Item, Listed, Reached

_EXPIRED, _REBUILT = "the server no longer had the changes", "the cluster was rebuilt"


class Seen:
    """Times (Unix seconds) at which streams gave something. `listed` are the streams that were listed before, last
    seen at `reached_s`.
    """

    def __init__(self, listed: Iterable[str], *, reached_s: float) -> None:
        self._last = dict.fromkeys(listed, reached_s)
        self._silent = dict(self._last)  # since when a stream is not heard of
        self._rebuilt: set[str] = set()

    def watch(self, streams: Iterable[str], *, now_s: float) -> None:
        """Expect these streams, and no others."""
        self._silent = {key: self._silent.get(key, self._last.get(key, now_s)) for key in streams}

    def rebuilt(self) -> None:
        """Expect every stream to list again, because the cluster is another one."""
        self._rebuilt = set(self._last)

    def reached_s(self, now_s: float) -> float:
        """Return the time up to which everything was seen."""
        return min([now_s, *self._silent.values()])

    def item(self, item: Item, *, now_s: float) -> Gap | None:
        """Take an item; return the gap that it ends. A list ends one, unless it is the first of its stream: what came
        and went between is unknown.
        """
        key = item.stream.key
        if isinstance(item, Interrupted):
            self._silent.setdefault(key, self._last.get(key, now_s))
            return None
        if not isinstance(item, Event | Reached | Listed):
            return None
        before_s = self._last.get(key)
        self._last[key] = now_s
        self._silent.pop(key, None)
        if not isinstance(item, Listed) or before_s is None:
            return None
        reason = _REBUILT if key in self._rebuilt else _EXPIRED
        self._rebuilt.discard(key)
        return Gap(stream=key, start_s=before_s, end_s=now_s, reason=reason)
