"""How long to wait before something is tried again."""

import email.utils
import random
import time
from collections.abc import Mapping

UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # in what OpenSSL says; trying again does not help


class Backoff:
    """Waiting times that double from `first_s` to `last_s`, each with jitter so that many clients do not come at once.

    Jitter is half of the time: see Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, *, first_s: float = 0.5, last_s: float = 30.0) -> None:
        self._first_s, self._last_s = first_s, last_s
        self._next_s = first_s

    def reset(self) -> None:
        """It worked: the next failure waits `first_s` again."""
        self._next_s = self._first_s

    def next_s(self, *, at_least_s: float = 0.0) -> float:
        """Seconds to wait now; at least what the other side asked for."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
        self._next_s = min(self._last_s, 2 * self._next_s)
        return max(wait_s, at_least_s)


def retry_after_s(headers: Mapping[str, str], *, limit_s: float = 120.0) -> float:
    """Seconds that `Retry-After` asks for (a number or a date; RFC 9110, 10.2.3), at most `limit_s`; else 0."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(limit_s, float(text))
    try:
        asked_s = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(limit_s, max(0.0, asked_s))
