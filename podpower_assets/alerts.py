"""`alerts`: one message for each cause, with what to do, to a webhook that understands Slack's messages.

A cause is the first line of a run's error, whichever jobs and partitions it fails, a check of an asset, a sensor or
schedule that keeps failing, or a backfill that failed. It is posted when it appears, once a day while it lasts, and
when a check has passed again. A partition whose check failed is posted once, and when it passes; hour after hour
that fails is one cause.
"""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import httpx
import msgspec

from podpower import settings
from podpower.hours import DAY_S
from podpower.labels.checks import ENERGY_IS_NOT_ALL_ZERO, MOST_STEPS_ARE_KNOWN, PODS_ADD_UP
from podpower_assets.checks import ENCODER_IS_WHOLE, TABLE_IS_WHOLE
from podpower_assets.daemon_failures import NO_REASON, failed_backfills, failing, reason_of
from podpower_assets.failed_checks import MOST_CHARS, Known, changed, lines, name_of, standing
from podpower_assets.freshness import JOURNAL_IS_FRESH, LABELS_ARE_FRESH, MODEL_IS_FRESH, ROWS_ARE_FRESH
from podpower_assets.lost_retries import is_lost
from podpower_assets.policies import JOB_TAG

_TIMEOUT_SECONDS = 10.0
_MOST_RUNS, _MOST_CAUSES = 50, 200
_CAUSE_CHARS = 120
# Errors of a run's partitions; those that come after the first are more of the same.
_OF_PARTITIONS = re.compile(
    r"(?:\d+ of \d+ partitions of \S+ failed: )?"
    r"(?:\d{4}-\d\d-\d\d(?:-\d\d:\d\d)?: )?(?P<first>.*?)(?:; \d{4}-\d\d-\d\d.*)?"
)
_OWN_ERROR = re.compile(r"^podpower\.errors\.\w+: ")
_NUMBER = re.compile(r"[0-9a-f]{8,}|[0-9]+")  # ids, dates and counts, which differ within one cause

# First step after a failed check; docs/how-to/operate.md repeats it (held by a test) and has more. The description of
# other checks contains theirs.
FIXES = {
    TABLE_IS_WHOLE: "It is made again by itself; where that fails, look at the newest run of `damaged_hours`.",
    ENCODER_IS_WHOLE: "It is put back from a model version by itself, or fitted again; nothing needs to be done.",
    ENERGY_IS_NOT_ALL_ZERO: "Kepler finds no hardware counters: `podpower doctor` names the nodes.",
    MOST_STEPS_ARE_KNOWN: "`podpower doctor` examines Kepler and Prometheus; the partition's page counts reasons.",
    PODS_ADD_UP: "Compare Kepler's pods with its nodes: `podpower doctor`.",
    JOURNAL_IS_FRESH: "Look at the collector, `podpower collect watch`: specs are those of before it stopped.",
    LABELS_ARE_FRESH: "`podpower clusters` names what stopped: the collector, Prometheus or Kepler.",
    ROWS_ARE_FRESH: "Look at the runs of training_rows, and at labels_are_fresh.",
    MODEL_IS_FRESH: "Look at the newest candidate's checks: `podpower models list`.",
}


# First step after a failed run.
_FIX_OF_RUNS = "What it was to make is requested again by itself; the run's page in the Dagster UI has its log."


class Sent(msgspec.Struct, kw_only=True):
    """A cause that was posted last at `at_s` (Unix seconds); `check`: it lasts until the check passes."""

    at_s: float
    check: bool


class Cursor(msgspec.Struct, kw_only=True):
    """Runs that were looked at, causes that were posted, and what is known of the checks of partitions."""

    runs_until_s: float
    sent: dict[str, Sent] = {}
    partitions: Known = msgspec.field(default_factory=Known)


class Alert(msgspec.Struct, kw_only=True, frozen=True):
    """One cause, and its message. `check`: it lasts until it is not found any more."""

    cause: str
    text: str
    check: bool = False


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Logs each cause of failed runs and checks once; posts it to PODPOWER_ALERT_WEBHOOK if that is set.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Post what failed since the last tick, and what has recovered."""
    now_s = time.time()
    cursor = _read(context.cursor, now_s=now_s)
    keys = list(context.repository_def.asset_graph.asset_check_keys) if context.repository_def else []
    failed, running = _checks(context.instance, keys)
    failed += _evaluations(context, now_s=now_s)
    changes, partitions = changed(context.instance, keys, cursor.partitions, now_s=now_s)
    since_s = cursor.runs_until_s
    found = [*_failed_runs(context.instance, since_s=since_s), *_backfills(context.instance, since_s=since_s), *failed]
    new = [alert for alert in {a.cause: a for a in found}.values() if _is_due(cursor.sent.get(alert.cause), now_s)]
    lasting = {alert.cause for alert in failed} | running
    over = [cause for cause, sent in cursor.sent.items() if sent.check and cause not in lasting]
    texts = [*(alert.text for alert in new), *(f"{cause} passes again" for cause in over), *lines(changes, FIXES)]
    for text in texts:
        context.log.warning(text)
    _post(texts)  # where it fails, the tick fails, and the next one posts the same
    sent = {cause: was for cause, was in cursor.sent.items() if cause not in over and now_s - was.at_s < 2 * DAY_S}
    sent |= {alert.cause: Sent(at_s=now_s, check=alert.check) for alert in new}
    newest = dict(sorted(sent.items(), key=lambda item: item[1].at_s)[-_MOST_CAUSES:])
    return dg.SensorResult(
        skip_reason=f"{len(texts)} messages" if texts else "nothing failed",
        cursor=msgspec.json.encode(Cursor(runs_until_s=now_s, sent=newest, partitions=partitions)).decode(),
    )


def _read(cursor: str | None, *, now_s: float) -> Cursor:
    """Return the cursor; a new one where there is none, or one of another version."""
    try:
        return msgspec.json.decode(cursor or "", type=Cursor)
    except msgspec.DecodeError:
        return Cursor(runs_until_s=now_s - 3600.0)


def _is_due(sent: Sent | None, now_s: float) -> bool:
    return sent is None or now_s - sent.at_s >= DAY_S


def _failed_runs(instance: dg.DagsterInstance, *, since_s: float) -> Iterator[Alert]:
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(since_s, UTC))
    for record in instance.get_run_records(filters, limit=_MOST_RUNS):
        run = record.dagster_run
        # Killed, and about to be started again.
        if run.tags.get("dagster/will_retry") == "true" or is_lost(instance, run):
            continue
        error = _first_error(instance, run.run_id)
        partition = run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start", "")
        job = run.tags.get(JOB_TAG) or ("assets" if run.job_name.startswith("__") else run.job_name)
        text = f"{job}{f' of {partition}' if partition else ''} failed: {error} (run {run.run_id}) {_FIX_OF_RUNS}"
        yield Alert(cause=_cause(error), text=text)


def _cause(error: str) -> str:
    """Return what errors of one cause have in common.

    >>> _cause("2 of 3 partitions of labels failed: 2026-01-01-00:00: no answer in 5 s; 2026-01-01-01:00: no answer")
    'run: no answer in # s'
    >>> _cause("2026-01-01-02:00: no answer in 7 s")
    'run: no answer in # s'
    """
    match = _OF_PARTITIONS.fullmatch(error)
    first = match["first"] if match else error
    return f"run: {_NUMBER.sub('#', first[:_CAUSE_CHARS])}"


def _evaluations(context: dg.SensorEvaluationContext, *, now_s: float) -> list[Alert]:
    """Return an alert for each sensor and schedule whose evaluations fail."""
    if (repository := context.repository_def) is None:
        return []
    names = {one.name for one in repository.sensor_defs} | {one.name for one in repository.schedule_defs}
    return [
        Alert(
            cause=f"evaluation of {name}",
            text=f"{name} requests nothing, its evaluation fails: {why[:MOST_CHARS]} Open its ticks in the Dagster UI.",
            check=True,
        )
        for name, why in failing(context.instance, names, now_s=now_s)
    ]


def _backfills(instance: dg.DagsterInstance, *, since_s: float) -> Iterator[Alert]:
    for name, why in failed_backfills(instance, since_s=since_s):
        text = f"backfill {name} was given up: {why[:MOST_CHARS]} Launch it again: partitions that it made stay made."
        yield Alert(cause=f"backfill {name}", text=text)


def _first_error(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the first line of the innermost error of the run: a step's own, else the run's. It has no credentials."""
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        for entry in instance.get_records_for_run(run_id, of_type=kind, limit=1).records:
            event = entry.event_log_entry.dagster_event
            if event is None:
                continue
            data = event.event_specific_data
            user = getattr(data, "user_failure_data", None)
            error = getattr(data, "error", None)
            message = (user and user.description) or (error and reason_of(error)) or event.message or ""
            line = next((line for line in message.splitlines() if line.strip()), NO_REASON)
            return _OWN_ERROR.sub("", line)[:MOST_CHARS]
    return NO_REASON


def _checks(instance: dg.DagsterInstance, keys: list[dg.AssetCheckKey]) -> tuple[list[Alert], set[str]]:
    """Return an alert for each check without partitions that has failed, and the causes of checks that a run is about
    to make: they have no result yet.
    """
    state = standing(instance, keys)
    failed = [
        Alert(cause=name_of(key), text=f"{name_of(key)} failed: {why} {FIXES.get(key.name, '')}".rstrip(), check=True)
        for key, why in state.failed.items()
    ]
    return failed, {name_of(key) for key in state.running}


def _post(texts: list[str]) -> None:
    webhook = settings.read().assets.alert_webhook
    if webhook and texts:
        text = "\n".join(f"podpower: {one}" for one in texts)
        httpx.post(webhook, json={"text": text}, timeout=_TIMEOUT_SECONDS).raise_for_status()
