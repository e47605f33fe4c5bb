"""`workload_changes`: runs for the hours in which objects changed."""

import time

import dagster as dg

from podpower.errors import PodpowerError
from podpower.settings import AssetSettings
from podpower_assets.clusters import FIRST, Cluster
from podpower_assets.features.assets import ENCODER
from podpower_assets.features.assets import NAME as FEATURES
from podpower_assets.partitions import hour_key, hours_between, known_hours, range_tags
from podpower_assets.policies import LIMITED
from podpower_assets.resources import Source, Tables
from podpower_assets.specs.assets import NAME as SPECS


def workload_changes(given: AssetSettings, cluster: Cluster = FIRST) -> dg.SensorDefinition:
    """Return the sensor of a cluster, which looks as often as is set."""

    @dg.sensor(
        name=cluster.named("workload_changes"),
        target=[cluster.key(SPECS), cluster.key(FEATURES), dg.AssetKey(ENCODER)],
        minimum_interval_seconds=given.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests one run for all hours that changed since the last tick; its cursor is the source's.",
    )
    def sensor(context: dg.SensorEvaluationContext, source: Source, tables: Tables) -> dg.SensorResult:
        return _request_changed_hours(context, source.of(cluster), tables, given, cluster)

    return sensor


def _request_changed_hours(
    context: dg.SensorEvaluationContext, source: Source, tables: Tables, given: AssetSettings, cluster: Cluster
) -> dg.SensorResult:
    """Request the specs and features of the hours that changed since the cursor."""
    try:
        with source.opened() as sources:
            changes, cursor = sources.objects.changes(context.cursor)
            stale = sources.stale()
            warnings = [*sources.damaged, *([stale] if stale else [])]
            # A new live cluster: its current objects give specs for the hours that Prometheus remembers.
            history_s = sources.history_s if context.cursor is None else 0.0
    except PodpowerError as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    for line in warnings:
        context.log.warning(line)
    changed = [hour_key(change.ts) for change in changes]
    if history_s:
        changed += hours_between(time.time() - history_s, time.time())
    hours = known_hours(changed, given)
    if not hours:
        early = f"all {len(changes)} changes are before the first partition, {given.partitions_start}"
        return dg.SensorResult(skip_reason=stale or (early if changes else "nothing changed"), cursor=cursor)
    selection = [cluster.key(SPECS), cluster.key(FEATURES), *([] if tables.encoder() else [dg.AssetKey(ENCODER)])]
    request = dg.RunRequest(
        run_key=cursor,  # a tick that is repeated after a crash requests the same run
        asset_selection=selection,
        # The first run covers all hours: it takes as long as a backfill.
        tags=range_tags(hours[0], hours[-1]) | (LIMITED if context.cursor else {}),
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)
