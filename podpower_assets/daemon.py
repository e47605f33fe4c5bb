"""The Dagster daemon of `podpower up`: `python -m` limits the pools, fails runs whose process is gone, and runs it.

Its arguments are those of `dagster-daemon`.
"""

import sys

import dagster as dg
from dagster._daemon.cli import main

from podpower import settings
from podpower.settings import AssetSettings
from podpower_assets.launcher import LocalRunLauncher, reason_of_death
from podpower_assets.policies import EXPORT, TRAINING

_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


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
        limit_pools(own, settings.read().assets)
        for line in fail_orphans(own):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    main()
