"""Failed checks, as alerts need them: those of an asset's last run, and those of each partition.

A partition that fails is not hidden by the next one that passes, and is reported once, with those that fail after it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg
import msgspec
import sqlalchemy as sa
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
    AssetCheckPartitionInfo,
)
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._serdes import deserialize_value

from podpower.hours import DAY_S, HOUR_S
from podpower_assets.partitions import day_key, day_start_s, hour_key, hour_start_s, hours_between
from podpower_assets.storage.check_states import LATE_EVENTS

_FAILED, _PASSED, _PLANNED = (
    AssetCheckExecutionRecordStatus.FAILED,
    AssetCheckExecutionRecordStatus.SUCCEEDED,
    AssetCheckExecutionRecordStatus.PLANNED,
)
_MOST_EVENTS = 5000  # results that one look reads
_MOST_PARTITIONS, _MOST_LOOKED_UP, _NAMED = 1000, 200, 3  # kept, looked up beyond the last event, shown
MOST_CHARS = 300


class Known(msgspec.Struct):
    """Partitions that are known to have failed, by check, when each check was reported last (Unix seconds), and the
    last event that was looked at (None: none yet).
    """

    failed: dict[str, list[str]] = {}
    reported_s: dict[str, float] = {}
    event: int | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Checks without partitions that have failed, by name with the reason, and those that a run is about to make."""

    failed: Mapping[dg.AssetCheckKey, str]
    running: Collection[dg.AssetCheckKey]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Partitions of checks that failed since the last look, with the latest reason, and those that passed again."""

    failed: dict[dg.AssetCheckKey, tuple[list[str], str]] = field(default_factory=dict)
    passed: dict[dg.AssetCheckKey, list[str]] = field(default_factory=dict)


def standing(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> Standing:
    """Return the state of checks whose results have no partition."""
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        checks, partition_filter=PartitionKeyFilter(key=None)
    )
    failed = {key: why for key, record in records.items() if (why := _reason(record)) is not None}
    return Standing(failed=failed, running={key for key, record in records.items() if record.status == _PLANNED})


def changed(
    instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey], known: Known, *, now_s: float
) -> tuple[Changed, Known]:
    """Return what changed in the partitions of the checks, and what is known now. The first look is at a day.

    Hour after hour that fails is one cause: it is reported when it begins, and once a day while it lasts. Only what was
    checked since is looked at: the results of a year would be read again at each look.
    """
    if known.event is None:
        checked, newest = _checked_in_a_day(instance, checks, now_s=now_s)
    else:
        checked, newest = _checked_after(instance, known.event)
    found, failed = Changed(), {name: set(keys) for name, keys in known.failed.items()}
    looked_up = 0
    for info in _results(instance, checks, checked):
        key, partition = info.check_key, str(info.partition_key)
        own = failed.setdefault(name_of(key), set())
        if info.latest_execution_status == _PASSED and partition in own:
            own.discard(partition)
            found.passed.setdefault(key, []).append(partition)
        elif info.latest_execution_status == _FAILED and partition not in own:
            # Warnings among the late events were looked up before, and must not use up each look anew.
            looked_up += info.latest_check_event_storage_id > (known.event or 0)
            if looked_up > _MOST_LOOKED_UP:  # the next look begins here
                newest = min(newest, info.latest_check_event_storage_id)
                break
            if (why := _reason_of(instance, key, partition)) is not None:
                own.add(partition)
                partitions, _ = found.failed.get(key, ([], ""))
                found.failed[key] = ([*partitions, partition], why)
    reported_s = _thinned(found, known, now_s=now_s)
    kept = {name: sorted(keys)[-_MOST_PARTITIONS:] for name, keys in failed.items() if keys}
    return found, Known(failed=kept, reported_s={n: s for n, s in reported_s.items() if n in kept}, event=newest)


def _checked_in_a_day(
    instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey], *, now_s: float
) -> tuple[Mapping[dg.AssetCheckKey, frozenset[str]], int]:
    """Return the partitions of a day and the running ones, for each check, and the last event there is."""
    newest = instance.event_log_storage.get_maximum_record_id() or 0
    first = day_key(now_s - DAY_S)
    hours = {hour for hour in hours_between(now_s - 2 * DAY_S, now_s) if hour >= first}
    return dict.fromkeys(checks, frozenset({first, day_key(now_s), *hours})), newest


def _results(
    instance: dg.DagsterInstance,
    checks: Sequence[dg.AssetCheckKey],
    checked: Mapping[dg.AssetCheckKey, frozenset[str]],
) -> list[AssetCheckPartitionInfo]:
    """Return the last result of each of the partitions, in the order in which they were stored."""
    storage = instance.event_log_storage
    infos = [
        info
        for key in checks
        if (partitions := checked.get(key))
        for info in storage.get_asset_check_partition_info([key], partition_keys=sorted(partitions))
        if info.partition_key is not None
    ]
    return sorted(infos, key=lambda one: one.latest_check_event_storage_id)


def _thinned(found: Changed, known: Known, *, now_s: float) -> dict[str, float]:
    """Remove what continues a failure that was reported within a day from what was found; after a day it is found as a
    whole. Return when each check was reported last.
    """
    reported_s = dict(known.reported_s)
    for key, (partitions, why) in list(found.failed.items()):
        name, was = name_of(key), known.failed.get(name_of(key), [])
        if not _continue(partitions, was):
            reported_s[name] = now_s
        elif now_s - reported_s.get(name, 0.0) < DAY_S:
            del found.failed[key]
        else:
            reported_s[name], found.failed[key] = now_s, ([*was, *partitions], why)
    return reported_s


def _continue(partitions: Sequence[str], failed: Sequence[str]) -> bool:
    """Return whether each partition follows another one of them or of those that are known to have failed.

    >>> _continue(["2026-01-02-01:00", "2026-01-02-00:00"], ["2026-01-01-23:00"])
    True
    >>> _continue(["2026-01-02-01:00"], ["2026-01-01-23:00"])
    False
    >>> _continue(["2026-01-02"], ["2026-01-01"])
    True
    """
    return {_before(one) for one in partitions} <= {*partitions, *failed}


def _before(partition: str) -> str:
    """Return the hour before an hour, or the day before a day."""
    if len(partition) == len("2026-01-01"):
        return day_key(day_start_s(partition) - DAY_S)
    return hour_key(hour_start_s(partition) - HOUR_S)


def _checked_after(instance: dg.DagsterInstance, event: int) -> tuple[Mapping[dg.AssetCheckKey, frozenset[str]], int]:
    """Return the partitions of each check that has a result after an event, and the last event that was looked at."""
    storage, columns = instance.event_log_storage, SqlEventLogStorageTable.c
    assert isinstance(storage, SqlEventLogStorage)  # noqa: S101 - all of Dagster's are
    query = (
        sa.select(columns.id, columns.event)
        .where(columns.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION.value)
        .where(columns.id > max(event - LATE_EVENTS, 0))
        .order_by(columns.id)
        .limit(_MOST_EVENTS)
    )
    newest = storage.get_maximum_record_id() or 0
    with storage.index_connection() as connection:
        rows = connection.execute(query).fetchall()
    found = defaultdict[dg.AssetCheckKey, set[str]](set)
    for _, text in rows:
        dagster_event = deserialize_value(text, EventLogEntry).dagster_event
        result = dagster_event.asset_check_evaluation_data if dagster_event else None
        if result and result.partition is not None:
            found[dg.AssetCheckKey(result.asset_key, result.check_name)].add(result.partition)
    partitions = {key: frozenset(own) for key, own in found.items()}
    return partitions, rows[-1][0] if len(rows) == _MOST_EVENTS else newest


def name_of(key: dg.AssetCheckKey) -> str:
    """Return the name of a check for people."""
    return f"{key.asset_key.to_user_string()}: {key.name}"


def named(partitions: Sequence[str]) -> str:
    """Return the partitions in few words.

    >>> named(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"])
    '2026-01-01, 2026-01-02, 2026-01-03 and 1 more'
    """
    shown = sorted(partitions)
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return f"{', '.join(shown[:_NAMED])}{more}"


def lines(found: Changed, fixes: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each check with partitions that failed, and for each with partitions that passed again."""
    for key, (partitions, why) in found.failed.items():
        yield f"{name_of(key)} of {named(partitions)} failed: {why} {fixes.get(key.name, '')}".rstrip()
    for key, partitions in found.passed.items():
        yield f"{name_of(key)} of {named(partitions)} passes again"


def _reason_of(instance: dg.DagsterInstance, key: dg.AssetCheckKey, partition: str) -> str | None:
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [key], partition_filter=PartitionKeyFilter(key=partition)
    )
    return _reason(records[key]) if key in records else None


def _reason(record: AssetCheckExecutionRecord) -> str | None:
    """Return why a check failed; None where it did not, or as a warning only."""
    evaluation = None if record.status == _PLANNED else record.evaluation
    if evaluation is None or evaluation.passed or evaluation.severity != dg.AssetCheckSeverity.ERROR:
        return None
    return (evaluation.description or "failed")[:MOST_CHARS]
