"""Hours and days, in UTC. The running ones exist too, so that a change shows before its hour is over."""

from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg

from podpower_assets.settings import LOADED

HOUR_FORMAT, DAY_FORMAT = "%Y-%m-%d-%H:%M", "%Y-%m-%d"
HOUR_S = 3600.0


def first_hour() -> str:
    """Return the key of the first hour that has a partition."""
    return LOADED.assets.partitions_start


HOURLY = dg.HourlyPartitionsDefinition(start_date=first_hour(), end_offset=1, timezone="UTC")
DAILY = dg.DailyPartitionsDefinition(start_date=first_hour()[:10], end_offset=1, timezone="UTC")


def hour_start_s(key: str) -> float:
    """Unix seconds at which the hour of this partition key begins."""
    return datetime.strptime(key, HOUR_FORMAT).replace(tzinfo=UTC).timestamp()


def day_end_s(key: str) -> float:
    """Unix seconds at which the day of this partition key ends."""
    return datetime.strptime(key, DAY_FORMAT).replace(tzinfo=UTC).timestamp() + 24 * HOUR_S


def hour_key(ts: float) -> str:
    """The partition key of the hour that holds this time."""
    return datetime.fromtimestamp(ts // HOUR_S * HOUR_S, UTC).strftime(HOUR_FORMAT)


def day_key(ts: float) -> str:
    """The partition key of the day that holds this time."""
    return datetime.fromtimestamp(ts, UTC).strftime(DAY_FORMAT)


def hours_between(start_s: float, end_s: float) -> list[str]:
    """Keys of the hours that overlap [start_s, end_s), oldest first."""
    first = int(start_s // HOUR_S)
    return [hour_key(hour * HOUR_S) for hour in range(first, int(-(-end_s // HOUR_S)))]


def range_tags(first: str, last: str) -> dict[str, str]:
    """Tags of one run over the partitions from `first` to `last`, as Dagster's own backfills of a range set them."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def known_hours(keys: Iterable[str]) -> list[str]:
    """Return the `keys` that are not before the first hour, oldest first, each once."""
    return sorted({key for key in keys if key >= first_hour()})
