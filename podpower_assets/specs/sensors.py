"""`workload_changes`: runs for the hours in which objects changed."""

import time
from collections.abc import Sequence

import dagster as dg
import msgspec
import polars as pl

from podpower.errors import Damaged, OtherSource, PodpowerError
from podpower.hours import DAY_S, HOUR_S, start_of_hour
from podpower.settings import AssetSettings
from podpower.sources.protocols import ObjectEvent
from podpower.specs.observing import observe
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.features.assets import ENCODER
from podpower_assets.history import has_unfinished_run
from podpower_assets.labels.assets import NAME as LABELS
from podpower_assets.labels.schedules import changed_hours, hourly_keys
from podpower_assets.partitions import consecutive, hour_key, hour_start_s, hours_between, known_hours, range_tags
from podpower_assets.policies import HOUR_ENDS_AFTER_S, LATE_DAYS, LIMITED, RUNS_A_TICK
from podpower_assets.resources import Source, Tables
from podpower_assets.specs.assets import NAME as SPECS
from podpower_assets.specs.pending import Pending
from podpower_assets.versions import Recorded, recorded


def workload_changes(given: AssetSettings, cluster: Cluster = FIRST) -> dg.SensorDefinition:
    """Return the sensor of a cluster, which looks as often as is set."""
    name = cluster.named("workload_changes")

    @dg.sensor(
        name=name,
        job=changed_hours(cluster),
        minimum_interval_seconds=given.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests the hours that changed, each with all of its assets: the running one every ten minutes "
        "at most, and sooner for a workload that was never seen; hours that their schedule missed; and, four times at "
        "most, hours whose labels are from an answer that was not whole.",
    )
    def sensor(context: dg.SensorEvaluationContext, source: Source, tables: Tables) -> dg.SensorResult:
        """Look at what changed, and request what is due."""
        pending = _decoded(context.cursor)
        is_first = pending.source is None
        try:
            seen, is_live = _look(context, pending, source.of(cluster), tables.of(cluster), given)
        except PodpowerError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        now_s = time.time()
        if is_live:  # a recording has no hours after its end
            lookback_s = 0.0 if is_first else given.window_days * DAY_S
            ended = known_hours(pending.ended(now_s=now_s, lookback_s=lookback_s), given)
            over = hours_between(now_s - LATE_DAYS * DAY_S, start_of_hour(now_s - HOUR_ENDS_AFTER_S))
            late = pending.again(_incomplete(context.instance, known_hours(over, given), cluster), now_s=now_s)
            pending.mark([*_missed(context.instance, ended, cluster), *late], now_s=now_s, new_specs=False)
        remade = recorded(context.instance, cluster.key(SPECS), list(pending.hours))
        pending.forget({hour: one.began_s for hour, one in remade.items()})
        busy = has_unfinished_run(context.instance, sensor=name)
        due = pending.due(now_s=now_s, busy=busy, every_s=given.remake_seconds)
        try:
            has_encoder = tables.encoder() is not None or _was_fitted(context.instance)
        except Damaged:  # it is set aside, and restored by `damaged_encoder`
            has_encoder = True
        # The first run fits the encoder, for which the others wait.
        chosen = consecutive(due)[: RUNS_A_TICK if has_encoder else 1]
        assets = [*([] if has_encoder else [dg.AssetKey(ENCODER)]), *hourly_keys(cluster)]
        requests = [_request(hours, assets, pending, limited=not is_first) for hours in chosen]
        if requests:
            pending.requested([h for hours in chosen for h in hours], now_s=now_s, every_s=given.remake_seconds)
        cursor = msgspec.json.encode(pending).decode()
        if not requests:
            return dg.SensorResult(skip_reason=_reason(pending, seen), cursor=cursor)
        return dg.SensorResult(run_requests=requests, cursor=cursor)

    return sensor


def _was_fitted(instance: dg.DagsterInstance) -> bool:
    """Return whether there was an encoder: one that is gone is restored by `damaged_encoder`, not fitted again."""
    return bool(recorded(instance, dg.AssetKey(ENCODER), None))


def _reason(pending: Pending, seen: str) -> str:
    return f"{seen}; {len(pending.hours)} changed hours are not due yet" if pending.hours else seen


def _decoded(cursor: str | None) -> Pending:
    """Return the state that a cursor holds; those of earlier versions are the position in the source alone."""
    if cursor is None:
        return Pending()
    try:
        return (
            msgspec.json.decode(cursor, type=Pending, strict=True) if '"source"' in cursor else Pending(source=cursor)
        )
    except msgspec.ValidationError:
        return Pending(source=cursor)


def _look(
    context: dg.SensorEvaluationContext, pending: Pending, source: Source, tables: Tables, given: AssetSettings
) -> tuple[str, bool]:
    """Add what changed since the last look; return why nothing may have been added, and whether the cluster lives."""
    now_s = time.time()
    with source.opened() as sources:
        try:
            changes, position = sources.objects.changes(pending.source)
        except OtherSource as error:  # a journal that was begun anew, or a live cluster in place of a recording
            context.log.warning(f"{error}; reading it from its beginning")
            changes, position = sources.objects.changes(None)
        stale, is_live = sources.stale(), sources.journal is not None
        for line in [*sources.damaged, *([stale] if stale else [])]:
            context.log.warning(line)
        # A new live cluster: its current objects give specs for the hours that Prometheus remembers.
        history_s = sources.history_s if pending.source is None else 0.0
        new = pending.source is not None and _has_new_spec(changes, tables, now_s=now_s, cluster=sources.cluster)
    pending.source = position
    changed = [hour_key(change.ts) for change in changes]
    if history_s:
        changed += hours_between(now_s - history_s, now_s)
    hours = known_hours(changed, given)
    pending.mark(hours, now_s=now_s, new_specs=new)
    early = f"all {len(changes)} changes are before the first partition, {given.partitions_start}"
    return stale or (early if changes and not hours else "nothing changed"), is_live


def _missed(instance: dg.DagsterInstance, hours: Sequence[str], cluster: Cluster) -> list[str]:
    """Return those of the hours for which no run was made after their end."""
    made = recorded(instance, cluster.key(LABELS if cluster.has_meter else SPECS), hours)
    return [hour for hour in hours if hour not in made or not _was_over(hour, made[hour])]


def _incomplete(instance: dg.DagsterInstance, hours: Sequence[str], cluster: Cluster) -> dict[str, float]:
    """Return when labels began to be made (Unix seconds), of the hours of which their source may have more now."""
    made = recorded(instance, cluster.key(LABELS), hours) if cluster.has_meter else {}
    return {hour: one.began_s for hour, one in made.items() if one.incomplete and _was_over(hour, one)}


def _was_over(hour: str, made: Recorded) -> bool:
    return made.began_s >= hour_start_s(hour) + HOUR_S


def _has_new_spec(changes: Sequence[ObjectEvent], tables: Tables, *, now_s: float, cluster: str) -> bool:
    """Return whether a workload changed now to a spec that neither this hour nor the one before knows."""
    recent = [
        one for one in changes if one.type != "DELETED" and one.ts >= now_s - HOUR_S and one.object.get("kind") != "Pod"
    ]
    if not recent:
        return False
    found, _ = observe(recent, start_s=now_s - HOUR_S, end_s=now_s + HOUR_S, cluster=cluster)
    known: set[str] = set()
    for hour in (hour_key(now_s - HOUR_S), hour_key(now_s)):
        specs = tables.scan_if_whole(SPECS, hour)
        if specs is not None:
            known |= set(specs.select(pl.col("_spec_hash").unique()).collect().to_series())
    return any(one.spec_hash not in known for one in found)


def _request(hours: Sequence[str], assets: Sequence[dg.AssetKey], pending: Pending, *, limited: bool) -> dg.RunRequest:
    """Return the request of one run. A tick that is repeated after a crash requests the same one."""
    run_key = f"{hours[0]} {hours[-1]} {pending.requests} {pending.source}"
    # The first run covers all hours: it takes as long as a backfill.
    tags = range_tags(hours[0], hours[-1]) | (LIMITED if limited else {})
    return dg.RunRequest(run_key=run_key, asset_selection=assets, tags=tags)
