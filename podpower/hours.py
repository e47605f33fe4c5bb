"""Hours in UTC: their length, their starts, and the names that recordings give them."""

from datetime import UTC, datetime

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def start_of_hour(ts: float) -> float:
    """Return the start of the hour that contains `ts` (Unix seconds).

    >>> start_of_hour(7199.5)
    3600.0
    """
    return ts // HOUR_S * HOUR_S


def hour_starts(start_s: float, end_s: float) -> list[float]:
    """Return the starts of the hours that overlap [start_s, end_s), oldest first.

    >>> hour_starts(3599.0, 7200.0)
    [0.0, 3600.0]
    """
    return [hour * HOUR_S for hour in range(int(start_s // HOUR_S), int(-(-end_s // HOUR_S)))]


def hour_name(ts: float) -> str:
    """Return the name of the hour that contains `ts` (Unix seconds).

    >>> hour_name(1767225600.0)
    '2026-01-01T00'
    """
    return datetime.fromtimestamp(start_of_hour(ts), UTC).strftime("%Y-%m-%dT%H")


def hour_start_s(name: str) -> float:
    """Return the start (Unix seconds) of the hour with this name.

    >>> hour_start_s('2026-01-01T00')
    1767225600.0
    """
    return datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()


def hours_between(start_s: float, end_s: float) -> list[str]:
    """Return the names of the hours that overlap [start_s, end_s), oldest first."""
    return [hour_name(hour_s) for hour_s in hour_starts(start_s, end_s)]
