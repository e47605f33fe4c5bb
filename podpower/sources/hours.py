"""UTC hours and their names in recordings."""

from datetime import UTC, datetime

HOUR_S = 3600.0


def hour_name(ts: float) -> str:
    """Return the name of the UTC hour that holds `ts` (Unix seconds).

    >>> hour_name(1767225600.0)
    '2026-01-01T00'
    """
    return datetime.fromtimestamp(ts // HOUR_S * HOUR_S, UTC).strftime("%Y-%m-%dT%H")


def hour_start_s(name: str) -> float:
    """Return the Unix seconds at which the hour of this name begins.

    >>> hour_start_s('2026-01-01T00')
    1767225600.0
    """
    return datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()


def hours_between(start_s: float, end_s: float) -> list[str]:
    """Return the names of the hours that overlap [start_s, end_s), oldest first."""
    return [hour_name(h * HOUR_S) for h in range(int(start_s // HOUR_S), int(-(-end_s // HOUR_S)))]
