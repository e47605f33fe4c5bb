"""Partition keys of hours and days, in UTC. The running hour and day exist too: a change shows before they end."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import dagster as dg

from podpower.clusters import Cluster as ConfiguredCluster
from podpower.clusters import configured_clusters
from podpower.errors import PodpowerError
from podpower.fleet.observed import began_s
from podpower.hours import DAY_S, HOUR_S, hour_starts, start_of_hour
from podpower.settings import AssetSettings, Settings
from podpower_assets.policies import PARTITIONS_A_RUN

HOUR_FORMAT, DAY_FORMAT = "%Y-%m-%d-%H:%M", "%Y-%m-%d"


# The first hour where none is set and none is looked for, as in tests.
_EARLIEST = "2025-01-01-00:00"


class AssetPartition(NamedTuple):
    """A partition of an asset. Cursors, metadata and messages have it as text: the asset, a space, the key."""

    asset: dg.AssetKey
    key: str

    def __str__(self) -> str:
        return f"{self.asset.to_user_string()} {self.key}"

    @classmethod
    def of(cls, text: str) -> "AssetPartition":
        """Return the partition that has this text."""
        asset, _, key = text.rpartition(" ")
        return cls(dg.AssetKey.from_user_string(asset), key)


def first_hour(given: Settings) -> str:
    """Return the key of the first hourly partition: the one that is set, else the hour in which the data of the first
    cluster begin. One that is not observed yet, or cannot be read, counts only where no other is observed: what is
    guessed for it would change while processes run. PodpowerError where none can be read.
    """
    if given.assets.partitions_start:
        return given.assets.partitions_start
    begin_s, failures, clusters = list[float](), list[PodpowerError](), configured_clusters(given)
    for cluster in clusters:
        try:
            found_s = _begin_s(cluster)
        except PodpowerError as error:
            failures.append(error)
        else:
            begin_s += [] if found_s is None else [found_s]
    if len(failures) == len(clusters):
        raise failures[0]
    # Until anything is observed, the days that a model is trained on count.
    return hour_key(min(begin_s, default=time.time() - given.assets.window_days * DAY_S))


def _begin_s(cluster: ConfiguredCluster) -> float | None:
    """Return when the data of a cluster begin: its journal, or the samples that Prometheus has from before. None until
    it is observed.
    """
    known_s = began_s(cluster.place)
    return None if known_s is None else known_s - cluster.settings().history_s


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
        start = given.partitions_start or _EARLIEST
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


def consecutive(hours: Iterable[str]) -> list[list[str]]:
    """Return groups of hours that follow each other, one for each run: the latest first, at most PARTITIONS_A_RUN in
    one.
    """
    found: list[list[str]] = []
    for hour in sorted(hours, reverse=True):
        follows = found and hour_start_s(found[-1][0]) - hour_start_s(hour) == HOUR_S
        if follows and len(found[-1]) < PARTITIONS_A_RUN:
            found[-1].insert(0, hour)
        else:
            found.append([hour])
    return found


def known_hours(keys: Iterable[str], given: AssetSettings) -> list[str]:
    """Return the `keys` that are not before the first partition, oldest first, each once."""
    return sorted({key for key in keys if key >= (given.partitions_start or _EARLIEST)})


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags of one run over the partitions from `first` to `last`, as Dagster's own backfills set them."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def _timestamp(key: str, form: str) -> float:
    return datetime.strptime(key, form).replace(tzinfo=UTC).timestamp()


def _key(ts: float, form: str) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime(form)
