"""The policy of retries: which failures are tried again, how often, how long to wait, and what is reported."""

import email.utils
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import stamina
from stamina.instrumentation import RetryDetails

from podpower.errors import Unavailable

T = TypeVar("T")
Note = Callable[[str], None]

RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_RETRY_AFTER_S: Final = 120.0
_LEAST_RETRY_AFTER_S = 1.0  # for less, the growing waits are kept
_JITTER_S = 0.5


class Again(Exception):
    """A request failed in a way that can pass. `wait_s` is the wait that the server requests, 0 for none."""

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.scheduled: Callable[[float], None] = lambda _: None  # called with the seconds until the next attempt


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Repeats a request that raises Again, up to `attempts` times (None: until it succeeds).

    Waits double from `first_s` to `last_s`, with jitter; a Retry-After of a second or more replaces them.
    """

    attempts: int | None = 4
    first_s: float = 0.5
    last_s: float = 30.0

    def call(self, request: Callable[[], T], *, what: str, note: Note = lambda _: None) -> T:
        """Return what `request` returns. Unavailable, which names `what`, after the last attempt.

        Each wait is announced with `note`.
        """

        def once() -> T:
            try:
                return request()
            except Again as error:
                error.scheduled = _announced(error, what=what, note=note)
                raise

        try:
            return stamina.RetryingCaller(
                self.attempts, None, wait_initial=self.first_s, wait_max=self.last_s, wait_jitter=_JITTER_S
            )(_backoff, once)
        except Again as error:
            raise Unavailable(f"{what}: {error}") from None

    async def call_async(self, request: Callable[[], Awaitable[T]], *, what: str, note: Note = lambda _: None) -> T:
        """Return what awaiting `request()` returns. Errors and notes as `call`."""

        async def once() -> T:
            try:
                return await request()
            except Again as error:
                error.scheduled = _announced(error, what=what, note=note)
                raise

        try:
            return await stamina.AsyncRetryingCaller(
                self.attempts, None, wait_initial=self.first_s, wait_max=self.last_s, wait_jitter=_JITTER_S
            )(_backoff, once)
        except Again as error:
            raise Unavailable(f"{what}: {error}") from None


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
        """Return the seconds to wait now, at least what the server requests."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
        self._next_s = min(self._last_s, 2 * self._next_s)
        return max(wait_s, at_least_s)


def retry_after_s(headers: Mapping[str, str], *, limit_s: float = MAX_RETRY_AFTER_S) -> float:
    """Return the seconds of `Retry-After` (a number or a date; RFC 9110, 10.2.3), at most `limit_s`; else 0."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(limit_s, float(text))
    try:
        asked_s = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(limit_s, max(0.0, asked_s))


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
