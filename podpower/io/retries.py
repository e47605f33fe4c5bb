"""The policy of retries: which failures are tried again, how often, how long to wait, and what is reported."""

import email.utils
import logging
import math
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import stamina
from stamina.instrumentation import RetryDetails

from podpower.errors import Unavailable
from podpower.numbers import whole_number_in

T = TypeVar("T")
Note = Callable[[str], None]

RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_RETRY_AFTER_S: Final = 120.0
REFUSED_S: Final = 60.0  # how long refused credentials that rotate are read again
_REFUSED_WAITS_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0)
_LONGEST_SHOWN_S = 1e9
_LEAST_RETRY_AFTER_S = 1.0  # for less, the growing waits are kept
_JITTER_S = 0.5
log_note: Final[Note] = logging.getLogger(__name__).warning  # no wait is silent


class Again(Exception):
    """A request failed in a way that can pass. `wait_s` is the wait that the server requests, 0 for none."""

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.scheduled: Callable[[float], None] = lambda _: None  # called with the seconds until the next attempt


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Repeats a request that raises Again, up to `attempts` times (None: until it succeeds).

    Waits double from `first_s` to `last_s`, with jitter; a Retry-After of a second or more replaces them. One beyond
    `most_retry_after_s` ends the attempts; where they have no end, that bound is waited.
    """

    attempts: int | None = 4
    first_s: float = 0.5
    last_s: float = 30.0
    most_retry_after_s: float = MAX_RETRY_AFTER_S

    def call(self, request: Callable[[], T], *, what: str, note: Note = log_note) -> T:
        """Return what `request` returns. Unavailable, which names `what`, after the last attempt.

        Each wait is announced with `note`.
        """

        def once() -> T:
            try:
                return request()
            except Again as error:
                self._bound(error, what=what)
                error.scheduled = _announced(error, what=what, note=note)
                raise

        try:
            return stamina.RetryingCaller(
                self.attempts, None, wait_initial=self.first_s, wait_max=self.last_s, wait_jitter=_JITTER_S
            )(_backoff, once)
        except Again as error:
            raise Unavailable(f"{what}: {error}") from None

    async def call_async(self, request: Callable[[], Awaitable[T]], *, what: str, note: Note = log_note) -> T:
        """Return what awaiting `request()` returns. Errors and notes as `call`."""

        async def once() -> T:
            try:
                return await request()
            except Again as error:
                self._bound(error, what=what)
                error.scheduled = _announced(error, what=what, note=note)
                raise

        try:
            return await stamina.AsyncRetryingCaller(
                self.attempts, None, wait_initial=self.first_s, wait_max=self.last_s, wait_jitter=_JITTER_S
            )(_backoff, once)
        except Again as error:
            raise Unavailable(f"{what}: {error}") from None

    def _bound(self, error: Again, *, what: str) -> None:
        """Raise Unavailable for a wait that is too long to be waited."""
        if error.wait_s > self.most_retry_after_s and self.attempts is not None:
            raise Unavailable(
                f"{what}: {error} and requests a wait of {error.wait_s:.0f} s (Retry-After), longer than the "
                f"{self.most_retry_after_s:g} s that podpower waits: try again later, or ask its operators why"
            ) from None
        error.wait_s = min(error.wait_s, self.most_retry_after_s)


class FewNotes:
    """Announces a wait, and of the next `every_s` seconds only how many there were: calls by the thousand, which wait
    for the same service. Threads may share it.
    """

    def __init__(self, *, note: Note = log_note, every_s: float = 10.0) -> None:
        self._note, self._every_s = note, every_s
        self._last_s, self._omitted = -math.inf, 0
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        """Announce a wait, or count it."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._last_s < self._every_s:
                self._omitted += 1
                return
            omitted, self._omitted, self._last_s = self._omitted, 0, now_s
        self._note(f"{text} ({omitted} more waits since the last note)" if omitted else text)


class Refusals:
    """Waits between attempts after refused credentials (401), which are read again each time.

    A token that rotates can be refused for a moment: its file is written later than the old one expires, or the server
    learns late of the new one.
    """

    def __init__(self, patience_s: float) -> None:
        """Wait for `patience_s` in all; 0 allows one more attempt."""
        self._patience_s, self._waits = patience_s, iter(_REFUSED_WAITS_S)
        self._first_s: float | None = None

    def next_s(self) -> float | None:
        """Return the seconds until the credentials are read again; None when patience has ended."""
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
            return next(self._waits)
        left_s = self._first_s + self._patience_s - now_s
        return min(next(self._waits, _REFUSED_WAITS_S[-1]), left_s) if left_s > 0 else None


class Backoff:
    """Waits between attempts to continue a stream: they double from `first_s` to `last_s` until it works again.

    Jitter is half of the time: see Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, *, first_s: float = 0.5, last_s: float = 30.0) -> None:
        self._first_s, self._last_s = first_s, last_s
        self._next_s = first_s

    def reset(self) -> None:
        """Start again at `first_s`, after a success."""
        self._next_s = self._first_s

    def next_s(self, *, at_least_s: float = 0.0) -> float:
        """Return the seconds to wait now, at least what the server requests up to MAX_RETRY_AFTER_S."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
        self._next_s = min(self._last_s, 2 * self._next_s)
        return max(wait_s, min(at_least_s, MAX_RETRY_AFTER_S))


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds of `Retry-After` (a number or a date; RFC 9110, 10.2.3), 0 where there is none."""
    text = headers.get("retry-after", "").strip()
    if (seconds := whole_number_in(text)) is not None:
        return min(_LONGEST_SHOWN_S, float(seconds))
    try:
        asked_s = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(_LONGEST_SHOWN_S, max(0.0, asked_s))


def _backoff(error: Exception) -> bool | float:
    """Return the wait that the server requests, True for a growing wait, False for no retry; stamina calls this."""
    if not isinstance(error, Again):
        return False
    if error.wait_s < _LEAST_RETRY_AFTER_S:
        return True
    return error.wait_s + random.uniform(0.0, _JITTER_S)  # noqa: S311  # no secret


def _announced(error: Again, *, what: str, note: Note) -> Callable[[float], None]:
    return lambda wait_s: note(f"{what}: {error}; trying again in {max(wait_s, 0.1):.1f} s")


def _on_retry(details: RetryDetails) -> None:
    if isinstance(details.caused_by, Again):
        details.caused_by.scheduled(details.wait_for)


stamina.instrumentation.set_on_retry_hooks([_on_retry])  # by default stamina logs to standard error
