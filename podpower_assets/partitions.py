"""Partition keys of hours and days, in UTC. The running hour and day exist too: a change shows before they end."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from podpower.hours import DAY_S, HOUR_S, hour_starts, start_of_hour
from podpower.settings import AssetSettings

HOUR_FORMAT, DAY_FORMAT = "%Y-%m-%d-%H:%M", "%Y-%m-%d"


@dataclass(frozen=True)
class Partitions:
    """Partitions of the hourly and of the daily assets, and the hours that a day's model is trained on."""

    hours: dg.TimeWindowPartitionsDefinition
    days: dg.TimeWindowPartitionsDefinition
    window: dg.TimeWindowPartitionMapping
    window_days: int

    @property
    def lookback_days(self) -> int:
        """Days whose partitions are remade by themselves: those that the model of the running day is trained on."""
        return self.window_days

    @classmethod
    def of(cls, given: AssetSettings) -> "Partitions":
        """Return the partitions that are set; hours of a window that do not exist are left out."""
        start = given.partitions_start
        return cls(
            hours=dg.HourlyPartitionsDefinition(start_date=start, end_offset=1, timezone="UTC"),
            days=dg.DailyPartitionsDefinition(start_date=start[:10], end_offset=1, timezone="UTC"),
            window=dg.TimeWindowPartitionMapping(
                start_offset=1 - given.window_days, allow_nonexistent_upstream_partitions=True
            ),
            window_days=given.window_days,
        )


def hour_start_s(key: str) -> float:
    """Return the start (Unix seconds) of the hour with this key."""
    return _timestamp(key, HOUR_FORMAT)


def is_over(key: str) -> bool:
    """Return whether the hour with this key has ended."""
    return hour_start_s(key) + HOUR_S <= time.time()


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


def known_hours(keys: Iterable[str], given: AssetSettings) -> list[str]:
    """Return the `keys` that are not before the first partition, oldest first, each once."""
    return sorted({key for key in keys if key >= given.partitions_start})


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags of one run over the partitions from `first` to `last`, as Dagster's own backfills set them."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def _timestamp(key: str, form: str) -> float:
    return datetime.strptime(key, form).replace(tzinfo=UTC).timestamp()


def _key(ts: float, form: str) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime(form)
