"""Runs per month of a schedule, against the definition: each minute of real time whose local clock matches."""

import functools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.errors import InvalidInput
from podpower.specs.schedules import runs_in, runs_per_month

PER_YEAR = 365.25 * 24 / 730


@pytest.mark.parametrize(
    ("schedule", "runs"),
    [
        ("* * * * *", 730 * 60),
        ("*/10 * * * *", 730 * 6),
        ("7 * * * *", 730),
        ("@hourly", 730),
        ("@daily", 730 / 24),
        ("@midnight", 730 / 24),
        ("0 3 * * ?", 730 / 24),
        ("0 3,15 * * *", 730 / 12),
        ("@weekly", 730 / 168),
        ("0 0 * * sun", 730 / 168),
        ("0 0 * * 7", 730 / 168),
        ("0 9-17/4 * * MON-FRI", 3 * 5 * 730 / 168),
        ("@monthly", 12 / PER_YEAR),
        ("@yearly", 1 / PER_YEAR),
        ("0 0 1 JAN *", 1 / PER_YEAR),
        ("0 0 29 2 *", 0.25 / PER_YEAR),
        ("@every 1h30m", 730 / 1.5),
        ("@every 90s", 730 * 40),
        ("@every 10ms", 730 * 3600),
        ("CRON_TZ=Europe/Berlin 0 4 * * *", 730 / 24),
    ],
)
def test_runs_per_month(schedule, runs):
    assert runs_per_month(schedule, None) == pytest.approx(runs, rel=1e-9)


def test_day_of_month_or_weekday_is_enough_unless_one_of_them_is_a_star():
    fridays, thirteenths = runs_in("0 0 * * 5", None, first_year=2025, years=28), 28 * 12
    both = runs_in("0 0 13 * 5", None, first_year=2025, years=28)
    assert both == fridays + thirteenths - 48  # 48 Fridays the 13th in 28 years
    every_other = runs_in("0 0 */2 * 5", None, first_year=2025, years=28)
    assert every_other > fridays  # */2 restricts, so either is enough


@pytest.mark.parametrize(
    ("schedule", "zone", "runs"),
    [
        ("30 2 * 3 *", "Europe/Berlin", 30),  # 02:30 does not exist on the last Sunday of March
        ("30 2 * 10 *", "Europe/Berlin", 32),  # and exists twice on the last Sunday of October
        ("30 2 * 3 *", None, 31),
        ("30 2 * 3 *", "Asia/Kolkata", 31),
        ("0 1 * 11 *", "America/New_York", 31),
        ("15 2 * 4 *", "Australia/Lord_Howe", 30),  # clocks move by half an hour, from 02:00 to 01:30
        ("45 1 * 4 *", "Australia/Lord_Howe", 31),
    ],
)
def test_daylight_saving_skips_and_repeats_runs(schedule, zone, runs):
    assert runs_in(schedule, zone, first_year=2025, years=1) == runs


MINUTES = st.sampled_from(["*", "*/15", "0", "5,50", "30-40/3"])
HOURS = st.sampled_from(["*", "1", "2", "1-3", "*/5", "0,23"])
DAYS = st.sampled_from(["*", "1", "26-31", "*/3"])
MONTHS = st.sampled_from(["*", "3", "10,11", "MAR-APR"])
WEEKDAYS = st.sampled_from(["*", "0", "SUN", "1-5", "*/2"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"])


@functools.cache
def local_minutes(zone):
    """Minute, hour, day, month and weekday of every minute of 2025 in a zone."""
    place = ZoneInfo(zone)
    start, end = (datetime(year, 1, 1, tzinfo=place).astimezone(UTC) for year in (2025, 2026))
    halves = [start + timedelta(minutes=30) * i for i in range(int((end - start) / timedelta(minutes=30)))]
    local = np.repeat([np.datetime64(half.astimezone(place).replace(tzinfo=None), "m") for half in halves], 30)
    local += np.tile(np.arange(30), len(halves)).astype("timedelta64[m]")
    days, months = local.astype("datetime64[D]"), local.astype("datetime64[M]")
    minutes = (local - days).astype(int)
    weekday = (days.astype(int) + 4) % 7
    return minutes % 60, minutes // 60, (days - months).astype(int) + 1, months.astype(int) % 12 + 1, weekday


@given(MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS, ZONES)
def test_counts_agree_with_a_walk_through_every_minute_of_a_year(minute, hour, day, month, weekday, zone):
    fields = ((minute, 0, 59), (hour, 0, 23), (day, 1, 31), (month, 1, 12), (weekday, 0, 6))
    of_minute, of_hour, of_day, of_month, of_week = (
        np.isin(values, list(expand(*field))) for values, field in zip(local_minutes(zone), fields, strict=True)
    )
    either = day != "*" and weekday != "*"
    expected = of_minute & of_hour & of_month & ((of_day | of_week) if either else (of_day & of_week))
    assert runs_in(f"{minute} {hour} {day} {month} {weekday}", zone, first_year=2025, years=1) == expected.sum()


def expand(field, low, high):
    names = {"MAR": "3", "APR": "4", "SUN": "0"}
    for name, number in names.items():
        field = field.replace(name, number)
    values = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, last = (low, high) if span == "*" else (int(span.split("-")[0]), int(span.split("-")[-1]))
        values |= set(range(first, last + 1, int(step or 1)))
    return values


@pytest.mark.parametrize(
    ("schedule", "zone", "message"),
    [
        ("61 * * * *", None, "is not a schedule.*minute"),
        ("* * * *", None, "is not a schedule"),
        ("0 0 0 1 1 *", None, "is not a schedule"),
        ("@fortnightly", None, "is not a schedule"),
        ("0 0 L * *", None, "is not a schedule"),
        ("0 0 * * 1#2", None, "is not a schedule"),
        ("@every soon", None, "@every 1h30m"),
        ("", None, "is not a schedule"),
        ("1" * 10_000, None, "10000 characters"),
        ("0 3 * * *", "Mars/Olympus", "is not a time zone"),
        ("0 3 * * *", "../../etc/passwd", "is not a time zone"),
        ("0 3 * * *", "Europe", "is not a time zone"),
        ("0 3 * * *", "", "is not a time zone"),
    ],
)
def test_what_is_no_schedule_is_refused_with_an_example(schedule, zone, message):
    with pytest.raises(InvalidInput, match=message):
        runs_per_month(schedule, zone)
