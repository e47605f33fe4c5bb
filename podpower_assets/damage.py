"""`damaged_tables`: tables that are not what was written are found, set aside, reported and made again.

A table is damaged when its bytes differ from its digest, and lost when it is not there although Dagster recorded it. A
damaged one is moved into the folder `damaged` beside it, by whichever reader meets it first or by this sensor, which
looks at each table when it was written and once a day. The partition's check `table_is_whole` fails, it is requested at
once, and until it is made again it is left out of training. Where that fails, because its sources are gone, the check
stays failed: the partition is a gap, and requested again after longer and longer waits.
"""

import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
import msgspec
from dagster._core.events import DagsterEvent
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckPartitionInfo,
)

from podpower.errors import Damaged, PodpowerError
from podpower.fleet.summary import DAYS as FLEET_DAYS
from podpower.hours import DAY_S, HOUR_S
from podpower.settings import AssetSettings
from podpower_assets.checks import TABLE_IS_WHOLE
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.fleet.assets import NAME as FLEET
from podpower_assets.history import has_unfinished_run
from podpower_assets.labels.schedules import hourly_keys
from podpower_assets.partitions import AssetPartition, consecutive, hours_between, range_tags
from podpower_assets.policies import LIMITED, RUNS_A_TICK, Requested
from podpower_assets.resources import Tables

if TYPE_CHECKING:  # what `define_asset_job` returns has no public name
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

VERIFY_EVERY_S: Final = DAY_S
_MOST_SECONDS: Final = 20.0  # of a tick, for reading tables; the others wait for the next one
_MOST_NAMED, _MOST_KNOWN = 5, 100_000

_FAILED, _PLANNED = AssetCheckExecutionRecordStatus.FAILED, AssetCheckExecutionRecordStatus.PLANNED

_VERIFIED: dict[str, tuple[str, float]] = {}  # path -> stamp of the files, and when they were read (Unix seconds)


@cache  # Dagster wants one object for one name
def damaged_hours(cluster: Cluster) -> "UnresolvedAssetJobDefinition":
    """Return the job that makes tables of a cluster again."""
    return dg.define_asset_job(
        cluster.named("damaged_hours"),
        selection=_keys(cluster),
        tags=LIMITED,
        description="Tables that were damaged or lost.",
    )


def damaged_tables(given: AssetSettings, cluster: Cluster = FIRST) -> dg.SensorDefinition:
    """Return the sensor of a cluster; that of the first looks at the fleet summary too."""
    name = cluster.named("damaged_tables")

    @dg.sensor(
        name=name,
        job=damaged_hours(cluster),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sets damaged tables aside, reports partitions whose table is damaged or lost, and requests them.",
    )
    def sensor(context: dg.SensorEvaluationContext, tables: Tables) -> dg.SensorResult:
        """Look at the tables, report what is new, and request what is due."""
        own, now_s = tables.of(cluster), time.time()
        healing = _healing(context.cursor)
        try:
            found = _missing(context.instance, own, _keys(cluster), given, now_s=now_s)
        except PodpowerError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        busy = has_unfinished_run(context.instance, sensor=name)
        _report(context, own, found, back=[one for one in healing if one not in found], busy=busy)
        healing = {one: healing.get(one, Requested()) for one in found}
        due = [] if busy else [one for one, state in healing.items() if state.is_due(now_s)]
        requests = []
        for assets, hours in list(_runs(due))[:RUNS_A_TICK]:
            chosen = [AssetPartition(asset, hour) for asset in assets for hour in hours]
            requests.append(_request(assets, hours, sum(healing[one].requests for one in chosen)))
            healing |= {one: healing[one].once_more(now_s) for one in chosen}
        cursor = msgspec.json.encode({str(one): state for one, state in healing.items()}).decode()
        if not requests:
            return dg.SensorResult(skip_reason=_reason(healing), cursor=cursor)
        return dg.SensorResult(run_requests=requests, cursor=cursor)

    return sensor


def _healing(cursor: str | None) -> dict[AssetPartition, Requested]:
    """Return the requests so far of the partitions that a cursor holds."""
    states = msgspec.json.decode(cursor, type=dict[str, Requested]) if cursor else {}
    return {AssetPartition.of(text): state for text, state in states.items()}


def _keys(cluster: Cluster) -> list[dg.AssetKey]:
    return [*hourly_keys(cluster), *(() if cluster.name else [dg.AssetKey(FLEET)])]


def _missing(
    instance: dg.DagsterInstance, tables: Tables, assets: Sequence[dg.AssetKey], given: AssetSettings, *, now_s: float
) -> list[AssetPartition]:
    """Set damaged tables aside, and return the partitions whose table was recorded or set aside and is not there."""
    until_s, found = time.monotonic() + _MOST_SECONDS, list[AssetPartition]()
    for asset in assets:
        name = asset.path[-1]
        days = min(FLEET_DAYS, given.keep_tables_days) if name == FLEET else given.window_days
        hours = hours_between(now_s - days * DAY_S + HOUR_S, now_s)
        made = instance.event_log_storage.get_latest_storage_id_by_partition(
            asset, dg.DagsterEventType.ASSET_MATERIALIZATION, set(hours)
        )
        # After the history: a table is there before it is recorded.
        stamps = tables.stamps(name)
        whole = {hour: stamp for hour, stamp in stamps.items() if hour in set(hours)}
        for hour in _damaged(tables, name, whole, now_s=now_s, until_s=until_s):
            del whole[hour]
        known = {*made, *tables.damaged(name)}
        found += [AssetPartition(asset, hour) for hour in hours if hour in known and hour not in whole]
    return found


def _damaged(tables: Tables, asset: str, stamps: Mapping[str, str], *, now_s: float, until_s: float) -> list[str]:
    """Read the tables that were written since they were read last, or were not read for a day, the newest first, and
    return the hours of damaged ones.
    """
    if len(_VERIFIED) > _MOST_KNOWN:
        _VERIFIED.clear()
    found = []
    for hour in sorted(stamps, reverse=True):
        path = str(tables.path(asset, hour))
        stamp, at_s = _VERIFIED.get(path, ("", 0.0))
        if stamp == stamps[hour] and now_s - at_s < VERIFY_EVERY_S:
            continue
        if time.monotonic() > until_s:
            break
        try:
            tables.verdict(asset, hour)
            if tables.scan(asset, hour) is None:
                continue  # its verdict is damaged, or it was removed: the next tick sees it
        except Damaged:
            found.append(hour)
        else:
            _VERIFIED[path] = (stamps[hour], now_s)
    return found


def _failed(tables: Tables, one: AssetPartition) -> dg.AssetCheckEvaluation:
    """Return the failed check of a partition without its table."""
    kept = tables.damaged(one.asset.path[-1]).get(one.key, [])
    text = f"The table was damaged, and kept as {kept[-1]}." if kept else "The table is gone."
    shown: dict[str, Any] = {"set_aside": len(kept)}
    if kept:
        shown["paths"] = dg.MetadataValue.md("\n".join(f"- `{path}`" for path in kept[-_MOST_NAMED:]))
    return _evaluation(one, passed=False, description=f"{text} It is being made again.", metadata=shown)


def _report(
    context: dg.SensorEvaluationContext,
    tables: Tables,
    missing: Sequence[AssetPartition],
    *,
    back: Sequence[AssetPartition],
    busy: bool,
) -> None:
    """Report the check of partitions without their table failed, and of those that are `back` passed, unless it is
    known. Where a run was to make one and failed, its check is planned only; `busy`: such a run goes on.
    """
    results = _results(context.instance, [*missing, *back])
    for one in missing:
        last = results.get(one)
        status = last and last.latest_execution_status
        if status != _FAILED and not (busy and status == _PLANNED):
            context.log.warning(f"{one}: its table is damaged or lost")
            _store(context.instance, _failed(tables, one), last)
    for one in back:
        if (last := results.get(one)) and last.latest_execution_status == _FAILED:
            whole = _evaluation(one, passed=True, description="The table was put back.", metadata={})
            _store(context.instance, whole, last)


def _store(instance: dg.DagsterInstance, result: dg.AssetCheckEvaluation, last: AssetCheckPartitionInfo | None) -> None:
    """Store a check result as one of the run that made the last. Dagster stores one result of a partition for each run,
    and only one without a run.
    """
    if last is None:
        instance.report_runless_asset_event(result)
        return
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
    event = DagsterEvent(event_type_value=kind, event_specific_data=result, job_name="damaged_tables")
    instance.report_dagster_event(event, run_id=last.latest_planned_run_id or str(uuid.uuid4()))


def _results(
    instance: dg.DagsterInstance, partitions: Sequence[AssetPartition]
) -> dict[AssetPartition, AssetCheckPartitionInfo]:
    """Return the last result of the check of each partition that has one."""
    checks = [dg.AssetCheckKey(asset, TABLE_IS_WHOLE) for asset in dict.fromkeys(one.asset for one in partitions)]
    if not checks:
        return {}
    hours = sorted({one.key for one in partitions})
    infos = instance.event_log_storage.get_asset_check_partition_info(checks, partition_keys=hours)
    return {AssetPartition(info.check_key.asset_key, str(info.partition_key)): info for info in infos}


def _evaluation(
    one: AssetPartition, *, passed: bool, description: str, metadata: Mapping[str, Any]
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=one.asset,
        check_name=TABLE_IS_WHOLE,
        partition=one.key,
        passed=passed,
        description=description,
        metadata=metadata,
    )


def _runs(due: Sequence[AssetPartition]) -> Iterator[tuple[list[dg.AssetKey], list[str]]]:
    """Yield the assets and hours of each run: hours that follow each other and lack the same tables share one. The
    fleet summary has runs of its own: in one with the tables that it reads it would be skipped where they fail.
    """
    lacking: dict[str, list[dg.AssetKey]] = {}
    for asset, hour in due:
        lacking.setdefault(hour, []).append(asset)
    by_assets: dict[tuple[dg.AssetKey, ...], list[str]] = {}
    for hour, assets in lacking.items():
        for part in ([a for a in assets if a.path[-1] != FLEET], [a for a in assets if a.path[-1] == FLEET]):
            if part:
                by_assets.setdefault(tuple(part), []).append(hour)
    for assets_, hours in by_assets.items():
        for group in consecutive(hours):
            yield list(assets_), group


def _request(assets: Collection[dg.AssetKey], hours: Sequence[str], number: int) -> dg.RunRequest:
    names = " ".join(asset.to_user_string() for asset in assets)
    return dg.RunRequest(
        run_key=f"damaged {names} {hours[0]} {hours[-1]} {number} {time.time():.0f}",
        asset_selection=list(assets),
        tags=range_tags(hours[0], hours[-1]) | LIMITED,
    )


def _reason(healing: Mapping[AssetPartition, Requested]) -> str:
    if not healing:
        return "every table is whole"
    named = ", ".join(map(str, list(healing)[:_MOST_NAMED]))
    return f"{len(healing)} tables are damaged or lost, and requested: {named}"
