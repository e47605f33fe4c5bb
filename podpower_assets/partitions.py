"""Partition keys of hours and days, in UTC. The running hour and day exist too: a change shows before they end."""

from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg

from podpower.hours import DAY_S, hour_starts, start_of_hour
from podpower.settings import AssetSettings

HOUR_FORMAT, DAY_FORMAT = "%Y-%m-%d-%H:%M", "%Y-%m-%d"


def hourly(given: AssetSettings) -> dg.TimeWindowPartitionsDefinition:
    """Return a partition for each hour from the first one that is set."""
    return dg.HourlyPartitionsDefinition(start_date=given.partitions_start, end_offset=1, timezone="UTC")


def daily(given: AssetSettings) -> dg.TimeWindowPartitionsDefinition:
    """Return a partition for each day from the one with the first hour."""
    return dg.DailyPartitionsDefinition(start_date=given.partitions_start[:10], end_offset=1, timezone="UTC")


def look_back(given: AssetSettings) -> dg.TimeWindowPartitionMapping:
    """Return the mapping of a day to the hours that its model is trained on; missing hours are left out."""
    return dg.TimeWindowPartitionMapping(start_offset=1 - given.window_days, allow_nonexistent_upstream_partitions=True)


# Assets are declared with the defaults: nothing reads the environment at import. `with_settings` puts the settings in.
HOURLY, DAILY, LOOK_BACK = hourly(AssetSettings()), daily(AssetSettings()), look_back(AssetSettings())


def with_settings(asset: dg.AssetsDefinition, given: AssetSettings) -> dg.AssetsDefinition:
    """Return the asset with the first partition and the training window that are set, in place of the defaults."""
    partitions = ((HOURLY, hourly(given)), (DAILY, daily(given)))

    def replace(spec: dg.AssetSpec) -> dg.AssetSpec:
        own = next((new for default, new in partitions if spec.partitions_def == default), spec.partitions_def)
        deps = [
            dep._replace(partition_mapping=look_back(given)) if dep.partition_mapping == LOOK_BACK else dep
            for dep in spec.deps
        ]
        return spec.replace_attributes(partitions_def=own, deps=deps)

    return asset.map_asset_specs(replace)


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
