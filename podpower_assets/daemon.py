"""The Dagster daemon of `podpower up`: `python -m` makes sure that no other one works on the same history, limits the
pools, fails runs whose process is gone, and runs it.

Its arguments are those of `dagster-daemon`.
"""

import sys
import time

import dagster as dg
from dagster._daemon.cli import main
from dagster._daemon.controller import DEFAULT_HEARTBEAT_INTERVAL_SECONDS

from podpower import settings
from podpower.errors import Unavailable
from podpower.settings import AssetSettings
from podpower_assets.launcher import LocalRunLauncher, reason_of_death
from podpower_assets.policies import EXPORT, TRAINING

_SILENT_SECONDS = 2.0 * DEFAULT_HEARTBEAT_INTERVAL_SECONDS  # after which the last daemon has surely ended
_LOOK_SECONDS = 1.0
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def await_silence(instance: dg.DagsterInstance, *, silent_s: float = _SILENT_SECONDS) -> None:
    """Return when no daemon of another machine works on the same history; Unavailable when one does.

    Two would start each run twice, and fail the runs of each other, whose processes they cannot see. Heartbeats show
    whether another one lives. A history in DAGSTER_HOME is locked by `podpower up`.
    """
    if settings.read().places.postgres_url is None:
        return
    last_s = _last_heartbeat_s(instance)
    deadline = time.monotonic() + min(silent_s, last_s + silent_s - time.time())
    while time.monotonic() < deadline:
        time.sleep(min(_LOOK_SECONDS, 0.1 * silent_s))
        if _last_heartbeat_s(instance) > last_s:
            raise Unavailable(
                f"another Dagster daemon works on the database of {settings.POSTGRES_URL}: stop that `podpower up`, or "
                "give this one a database and a home of its own"
            )


def _last_heartbeat_s(instance: dg.DagsterInstance) -> float:
    return max((beat.timestamp for beat in instance.get_daemon_heartbeats().values()), default=0.0)


def fail_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Report unfinished runs without a living process failed, and return a line about each.

    Run monitoring does the same for started runs only. Before the daemon runs nothing can be about to start a run, so
    that a run which was starting or being cancelled needs no timeout either. The daemon then retries them. Runs in pods
    of their own do not end with the daemon's pod: their launcher knows whether they live.
    """
    lines = []
    if not isinstance(instance.run_launcher, LocalRunLauncher):
        return lines
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED)):
        reason = reason_of_death(instance, run)
        if reason is not None:
            instance.report_run_failed(run, f"The run cannot go on: {reason}.")
            lines.append(f"run {run.run_id} of {run.job_name} failed: {reason}")
    return lines


def limit_pools(instance: dg.DagsterInstance, given: AssetSettings) -> None:
    """Set how many runs of each pool can run at a time."""
    for pool, limit in {TRAINING: given.training_runs, EXPORT: given.export_runs}.items():
        instance.event_log_storage.set_concurrency_slots(pool, limit)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as own:
        try:
            await_silence(own)
        except Unavailable as error:
            sys.exit(f"error: {error}")
        limit_pools(own, settings.read().assets)
        for line in fail_orphans(own):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    main()
