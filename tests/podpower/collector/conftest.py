"""The clock of tests that collect into a journal."""

import time
from collections.abc import Callable

import pytest

from podpower.hours import HOUR_S


@pytest.fixture
def half_past(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """A clock that runs from the middle of the present hour on, so that none ends within a test; returns it."""
    real, ahead_s = time.time, HOUR_S / 2 - time.time() % HOUR_S

    def now_s() -> float:
        return real() + ahead_s

    monkeypatch.setattr(time, "time", now_s)
    return now_s
