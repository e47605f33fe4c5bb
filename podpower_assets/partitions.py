"""Partition keys of hours and days, in UTC. The running hour and day exist too: a change shows before they end."""

from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg

from podpower.hours import DAY_S, hour_starts, start_of_hour
from podpower_assets.settings import LOADED

HOUR_FORMAT, DAY_FORMAT = "%Y-%m-%d-%H:%M", "%Y-%m-%d"


def first_hour() -> str:
    """Return the key of the first hour that has a partition."""
    return LOADED.assets.partitions_start


HOURLY = dg.HourlyPartitionsDefinition(start_date=first_hour(), end_offset=1, timezone="UTC")
DAILY = dg.DailyPartitionsDefinition(start_date=first_hour()[:10], end_offset=1, timezone="UTC")


def hour_start_s(key: str) -> float:
    """Return the start (Unix seconds) of the hour with this key."""
    return _timestamp(key, HOUR_FORMAT)


def day_start_s(key: str) -> float:
    """Return the start (Unix seconds) of the day with this key."""
    return _timestamp(key, DAY_FORMAT)


def day_end_s(key: str) -> float:
    """Return the end (Unix seconds) of the day with this key."""
    return day_start_s(key) + DAY_S


def hour_key(ts: float) -> str:
    """Return the key of the hour that contains `ts`."""
    return _key(start_of_hour(ts), HOUR_FORMAT)


def day_key(ts: float) -> str:
    """Return the key of the day that contains `ts`."""
    return _key(ts, DAY_FORMAT)


def hours_between(start_s: float, end_s: float) -> list[str]:
    """Return the keys of the hours that overlap [start_s, end_s), oldest first."""
    return [hour_key(hour_s) for hour_s in hour_starts(start_s, end_s)]


def known_hours(keys: Iterable[str]) -> list[str]:
    """Return the `keys` that are not before the first hour, oldest first, each once."""
    return sorted({key for key in keys if key >= first_hour()})


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags of one run over the partitions from `first` to `last`, as Dagster's own backfills set them."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def _timestamp(key: str, form: str) -> float:
    return datetime.strptime(key, form).replace(tzinfo=UTC).timestamp()


def _key(ts: float, form: str) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime(form)
