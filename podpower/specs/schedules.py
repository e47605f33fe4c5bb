"""Cron schedules of CronJobs as runs per month, counted as the CronJob controller does.

The controller (robfig/cron) starts a run in each minute of real time whose local clock matches: a local time that
daylight saving skips has no run, one that it repeats has two. Runs are counted over the 28 years in which dates and
weekdays repeat, so that a result does not depend on today's date.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from cronsim import CronSim, CronSimError
from numpy.typing import NDArray

from podpower.errors import InvalidInput
from podpower.hours import HOUR_S
from podpower.specs.quoting import quoted

HOURS_PER_MONTH: Final = 730.0
_FIRST_YEAR, _YEARS = 2025, 28
_MAX_LENGTH = 256
_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE_PREFIX = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)")
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:h|ms|m|s|us|µs|ns))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_STAR = re.compile(r"[*?](?:/0*1)?")
_CHARACTERS = re.compile(r"[0-9A-Za-z*?,/ \t-]+")


class _Schedule(NamedTuple):
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both_days: bool  # day of month and weekday must both match; else one of them is enough

    def matches_day(self, month: int, day: int, weekday: int) -> bool:
        of_month, of_week = day in self.days, weekday in self.weekdays
        return month in self.months and (of_month and of_week if self.both_days else of_month or of_week)


class _Shift(NamedTuple):
    """Local times [start, end) that a change of the clock skips or repeats."""

    start: datetime
    end: datetime
    hours: frozenset[int]
    repeated: bool


@lru_cache(maxsize=1 << 12)
def runs_per_month(schedule: str, time_zone: str | None) -> float:
    """Return the mean number of runs in 730 hours. InvalidInput when the schedule or the zone cannot be read.

    >>> round(runs_per_month("@daily", None), 6), runs_per_month("*/10 * * * *", "Europe/Berlin")
    (30.416667, 4380.0)
    """
    schedule = schedule.strip()
    if len(schedule) > _MAX_LENGTH:
        raise InvalidInput(f"a schedule of {len(schedule)} characters; write e.g. 0 3 * * *")
    if prefix := _ZONE_PREFIX.fullmatch(schedule):
        time_zone, schedule = prefix[1], prefix[2].strip()
    if schedule.startswith("@every "):
        return HOURS_PER_MONTH * HOUR_S / _every_seconds(schedule)
    hours = (date(_FIRST_YEAR + _YEARS, 1, 1) - date(_FIRST_YEAR, 1, 1)).days * 24
    return runs_in(schedule, time_zone, first_year=_FIRST_YEAR, years=_YEARS) / hours * HOURS_PER_MONTH


@lru_cache(maxsize=1 << 12)
def start_hours(schedule: str, time_zone: str | None) -> tuple[float, ...] | None:
    """Return the share of runs that start in each hour of the day in UTC, over a year; None where they drift.

    >>> start_hours("30 3 * * *", None)[3], start_hours("@every 7h", None)
    (1.0, None)
    """
    schedule = schedule.strip()
    if prefix := _ZONE_PREFIX.fullmatch(schedule):
        time_zone, schedule = prefix[1], prefix[2].strip()
    if schedule.startswith("@every "):
        return None
    parsed = _parse(_MACROS.get(schedule, schedule))
    if time_zone is not None:
        _shifts(time_zone, _FIRST_YEAR, 1)  # InvalidInput for what is no zone
    zone = UTC if time_zone is None else ZoneInfo(time_zone)
    counts = [0] * 24
    for day in range(365):
        date_of_run = datetime(_FIRST_YEAR, 1, 1, tzinfo=zone) + timedelta(days=day)
        if parsed.matches_day(date_of_run.month, date_of_run.day, date_of_run.isoweekday() % 7):
            for hour in parsed.hours:
                counts[date_of_run.replace(hour=hour).astimezone(UTC).hour] += 1
    return tuple(count / sum(counts) for count in counts) if any(counts) else None


def runs_in(schedule: str, time_zone: str | None, *, first_year: int, years: int) -> int:
    """Return the number of runs in whole local years. InvalidInput when the schedule or the zone cannot be read."""
    parsed = _parse(_MACROS.get(schedule, schedule))
    matching_days = sum(
        int(count)
        for (month, day, weekday), count in np.ndenumerate(_days(first_year, years))
        if count and parsed.matches_day(month + 1, day + 1, weekday)
    )
    runs = matching_days * len(parsed.hours) * len(parsed.minutes)
    if time_zone is not None:
        for shift in _shifts(time_zone, first_year, years):
            if parsed.hours.isdisjoint(shift.hours):
                continue
            found = sum(_runs_at(parsed, moment) for moment in _minutes(shift.start, shift.end))
            runs += found if shift.repeated else -found
    return runs


def _parse(schedule: str) -> _Schedule:
    shown = (
        f'"{quoted(schedule, most=60)}" is not a schedule; write minute, hour, day, month and weekday, e.g. 0 3 * * *'
    )
    fields = schedule.split()
    if len(fields) != 5 or not _CHARACTERS.fullmatch(schedule):
        raise InvalidInput(shown)
    try:
        parsed = CronSim(" ".join(fields).replace("?", "*"), datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise InvalidInput(f"{shown} ({str(error).lower()})") from None
    if not all(isinstance(item, int) and item >= 0 for item in (*parsed.days, *parsed.weekdays)):
        raise InvalidInput(f"{shown} (Kubernetes has no L, W and #)")
    return _Schedule(
        minutes=frozenset(parsed.minutes),
        hours=frozenset(parsed.hours),
        days=frozenset(parsed.days),
        months=frozenset(parsed.months),
        weekdays=frozenset(item % 7 for item in parsed.weekdays if isinstance(item, int)),
        both_days=any(_STAR.fullmatch(term) for field in (fields[2], fields[4]) for term in field.split(",")),
    )


def _every_seconds(schedule: str) -> float:
    text = schedule.removeprefix("@every ").strip()
    if not _DURATION.fullmatch(text):
        raise InvalidInput(f'"{quoted(schedule, most=60)}" is not a schedule; write e.g. @every 1h30m')
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    return max(1.0, float(int(seconds)))


@cache
def _days(first_year: int, years: int) -> NDArray[np.int64]:
    """Return the number of dates by month, day and weekday (0 is Sunday), each from 0."""
    counts = np.zeros((12, 31, 7), dtype=np.int64)
    day, end = date(first_year, 1, 1), date(first_year + years, 1, 1)
    while day < end:
        counts[day.month - 1, day.day - 1, day.isoweekday() % 7] += 1
        day += timedelta(days=1)
    return counts


@lru_cache(maxsize=1 << 10)
def _shifts(time_zone: str, first_year: int, years: int) -> tuple[_Shift, ...]:
    """Return the changes of the local clock in whole local years."""
    try:
        zone = ZoneInfo(time_zone) if 0 < len(time_zone) <= 64 and time_zone != "Local" else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zone = None
    if zone is None:
        raise InvalidInput(f'"{quoted(time_zone, most=64)}" is not a time zone; write e.g. Europe/Berlin')
    shifts = []
    low, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(first_year + years, 1, 1, tzinfo=UTC)
    while low < end:
        high = low + timedelta(days=1)
        before, after = _offset(low, zone), _offset(high, zone)
        if before != after:
            at = _change(low, high, zone).replace(tzinfo=None)
            start, end_of_shift = at + min(before, after), at + max(before, after)
            hours = frozenset(moment.hour for moment in _minutes(start, end_of_shift))
            shifts.append(_Shift(start, end_of_shift, hours, repeated=after < before))
        low = high
    return tuple(shifts)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """Return the first minute in (low, high] with the offset that `high` has."""
    after = _offset(high, zone)
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=int((high - low) / timedelta(minutes=1)) // 2)
        if _offset(middle, zone) == after:
            high = middle
        else:
            low = middle
    return high


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += timedelta(minutes=1)


def _runs_at(schedule: _Schedule, moment: datetime) -> bool:
    return (
        moment.minute in schedule.minutes
        and moment.hour in schedule.hours
        and schedule.matches_day(moment.month, moment.day, moment.isoweekday() % 7)
    )
