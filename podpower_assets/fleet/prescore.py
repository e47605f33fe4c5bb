"""Predict what runs, for the fleet summary, in this process: `python -m podpower_assets.fleet.prescore [--job NAME]`.

The CronJob of the chart's scaled profile starts it, in place of the sensor `fleet_changes`. Its runs are recorded in
Dagster's history as those of the sensor are.
"""

import argparse
import sys
import time

import dagster as dg

from podpower import settings
from podpower.errors import PodpowerError
from podpower.fleet.summary import DAYS
from podpower.hours import DAY_S
from podpower_assets.clusters import observed_clusters
from podpower_assets.definitions import definitions
from podpower_assets.fleet.assets import NAME, upstream_of
from podpower_assets.fleet.sensors import fleet_hours
from podpower_assets.fleet.stale_hours import stale_hours
from podpower_assets.partitions import consecutive, hours_between, range_tags
from podpower_assets.policies import KUBERNETES_JOB_TAG, LIMITED, RUNS_A_TICK
from podpower_assets.versions import recorded

NEVER_RETRIED = {"dagster/max_retries": "0"}  # the next start does what is left


def prescore(instance: dg.DagsterInstance, given: settings.Settings, *, now_s: float, job: str | None = None) -> int:
    """Sum up the hours whose tables changed, and the newest one again: its predictions are those of the model of now.
    Return the number of hours; `job` is the Job of Kubernetes around this process. PodpowerError where a run fails.
    """
    clusters = observed_clusters(given)
    upstream = upstream_of(clusters).unchecked
    hours = hours_between(now_s - DAYS * DAY_S, now_s)
    known = {hour for key in upstream for hour in recorded(instance, key, hours)}
    chosen = {*stale_hours(instance, upstream, hours), *([max(known)] if known else [])}
    groups = consecutive(chosen)[:RUNS_A_TICK]  # the newest; the others are left to the next start
    made = definitions(given, clusters).resolve_job_def(fleet_hours.name)
    tags = LIMITED | NEVER_RETRIED | ({KUBERNETES_JOB_TAG: job} if job else {})
    for group in reversed(groups):
        result = made.execute_in_process(
            instance=instance, tags=tags | range_tags(group[0], group[-1]), raise_on_error=False
        )
        if not result.success:
            raise PodpowerError(f"{NAME} of {group[0]} to {group[-1]} failed: {_first_error(result)}")
    return sum(map(len, groups))


def _first_error(result: dg.ExecuteInProcessResult) -> str:
    found = (event.message for event in result.all_events if event.is_failure and event.message)
    return next(found, f"see run {result.run_id}")


def main() -> int:
    """Run once; return the exit code."""
    parser = argparse.ArgumentParser(prog="podpower_assets.fleet.prescore", description="Make the fleet summary.")
    parser.add_argument("--job", help="name of the Job of Kubernetes that runs this")
    arguments = parser.parse_args()
    try:
        with dg.DagsterInstance.get() as instance:
            hours = prescore(instance, settings.read(), now_s=time.time(), job=arguments.job)
    except PodpowerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stderr.write(f"{NAME}: summed up {hours} hours\n" if hours else f"{NAME}: no hour has tables yet\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
