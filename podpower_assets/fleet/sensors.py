"""`fleet_changes`: runs for the hours whose tables are newer than what the fleet summary was made from."""

import time
from collections.abc import Mapping, Sequence

import dagster as dg
import msgspec

from podpower.fleet.summary import DAYS
from podpower.hours import DAY_S
from podpower_assets.clusters import Cluster
from podpower_assets.fleet.assets import NAME, upstream_of
from podpower_assets.fleet.stale_hours import stale_hours
from podpower_assets.history import has_unfinished_run
from podpower_assets.partitions import consecutive, hours_between, range_tags
from podpower_assets.policies import LIMITED, RUNS_A_TICK, Requested

EVERY_S = 900.0  # hours that change meanwhile share a run


fleet_hours = dg.define_asset_job(
    "fleet_hours", selection=[NAME], tags=LIMITED, description="The fleet summary of hours whose tables changed."
)


class _Cursor(msgspec.Struct):
    """Memory of the sensor between two ticks; hours by their key, events by their id."""

    events: dict[str, int] = {}  # last event of each hour for which a run was requested
    at_s: float = 0.0  # time of the last request
    found: dict[str, int] = {}  # changed hours of the tick before
    waiting: frozenset[str] = frozenset()  # hours requested since `looked_s`
    again: dict[str, Requested] = {}  # hours that runs did not make
    looked_s: float = 0.0  # time of the last look at what runs made


def fleet_changes(clusters: Sequence[Cluster], *, runs: bool = True) -> dg.SensorDefinition:
    """Return the sensor; `runs` is False where a CronJob is in its place. It requests runs of their own: in a run with
    the tables that it reads, the asset would be skipped where those of one cluster fail.
    """
    upstream = upstream_of(clusters).unchecked

    @dg.sensor(
        name="fleet_changes",
        job=fleet_hours,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING if runs else dg.DefaultSensorStatus.STOPPED,
        description="Requests the fleet summary of the hours whose tables changed, every 15 minutes at most.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Request each hour once for its last event: an update during a run is a later one. Where its run did not make
        it, or made it without a table, it is requested again after longer and longer waits.
        """
        cursor = msgspec.json.decode(context.cursor, type=_Cursor) if context.cursor else _Cursor()
        now_s = time.time()
        if now_s - cursor.at_s < EVERY_S:
            return dg.SensorResult(skip_reason="the last request was less than 15 minutes ago", cursor=context.cursor)
        hours = hours_between(now_s - DAYS * DAY_S, now_s)
        last = _last_events(context.instance, upstream, hours)
        changed = {hour: last[hour] for hour in hours if last.get(hour, 0) > cursor.events.get(hour, 0)}
        unchanged = [hour for hour in hours if hour not in changed]
        known = _with_unmade(context.instance, upstream, cursor, unchanged, now_s=now_s)
        known.again = {hour: one for hour, one in known.again.items() if hour in last and hour not in changed}
        due = [hour for hour, one in known.again.items() if one.is_due(now_s)]
        if not changed and not due:
            return dg.SensorResult(skip_reason="no table changed", cursor=msgspec.json.encode(known).decode())
        settled = _settled(cursor, changed, now_s=now_s)
        groups = consecutive({*stale_hours(context.instance, upstream, settled), *due})
        chosen = groups[:RUNS_A_TICK]
        left = {hour for group in groups[RUNS_A_TICK:] for hour in group}
        tried = {hour: known.again[hour].once_more(now_s) for hour in due if hour not in left}
        kept = {hour: event for hour, event in cursor.events.items() if hour >= hours[0]}
        known = msgspec.structs.replace(
            known,
            events=kept | {hour: last[hour] for hour in settled if hour not in left},
            # What is left over is requested at the next tick.
            at_s=now_s if chosen and len(chosen) == len(groups) else cursor.at_s,
            found=changed,
            waiting=known.waiting.union(*chosen),
            again=known.again | tried,
        )
        return dg.SensorResult(
            run_requests=[_request(group, last, tried) for group in reversed(chosen)],
            skip_reason=None if chosen else "tables are being made, or have the content that was summed up",
            cursor=msgspec.json.encode(known).decode(),
        )

    return sensor


def _with_unmade(
    instance: dg.DagsterInstance,
    upstream: Sequence[dg.AssetKey],
    cursor: _Cursor,
    hours: Sequence[str],
    *,
    now_s: float,
) -> _Cursor:
    """Return the cursor with the requested hours that no run made, of those given. They are looked up while no run goes
    on, every 15 minutes at most.
    """
    if now_s - cursor.looked_s < EVERY_S or has_unfinished_run(instance, sensor="fleet_changes"):
        return msgspec.structs.replace(cursor)
    requested = {*cursor.waiting, *cursor.again} if cursor.looked_s else cursor.events.keys()
    unmade = stale_hours(instance, upstream, [hour for hour in hours if hour in requested])
    again = {hour: cursor.again.get(hour, Requested()) for hour in unmade}
    return msgspec.structs.replace(cursor, again=again, waiting=frozenset(), looked_s=now_s)


def _settled(cursor: _Cursor, changed: Mapping[str, int], *, now_s: float) -> list[str]:
    """Return the changed hours whose run need not wait: without a newer table since the tick before, as tables of one
    hour are made one after another; all, where that takes too long.
    """
    overdue = 0 < cursor.at_s < now_s - 2 * EVERY_S
    return [hour for hour, event in changed.items() if overdue or cursor.found.get(hour) == event]


def _last_events(instance: dg.DagsterInstance, upstream: Sequence[dg.AssetKey], hours: Sequence[str]) -> dict[str, int]:
    """Return the last materialization of any of the tables of each hour."""
    found: dict[str, int] = {}
    for key in upstream:
        stored = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, set(hours)
        )
        for hour, event in stored.items():
            found[hour] = max(event, found.get(hour, 0))
    return found


def _request(group: Sequence[str], last: Mapping[str, int], tried: Mapping[str, Requested]) -> dg.RunRequest:
    number = max((tried[hour].requests for hour in group if hour in tried), default=0)
    return dg.RunRequest(
        run_key=f"fleet {group[0]} {group[-1]} {max(last[hour] for hour in group)}{f' {number}' if number else ''}",
        asset_selection=[dg.AssetKey(NAME)],
        tags=range_tags(group[0], group[-1]) | LIMITED,
    )
