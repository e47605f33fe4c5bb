"""A backfill of 72 hours of 200 workloads as Jobs of Kubernetes: `bench_pods.py [--hours N] [--workloads N]`.

The scaled profile as Helm renders it: the platform pod starts, and a backfill of all hourly assets is launched. Each
run, and each of its steps, is a Job at a fake API server, under the Roles of the chart; a runner executes the pods as
processes in namespaces of their own, which share nothing but a real PostgreSQL and an S3 server (moto). At a moment
in the middle one pod is killed as the loss of its node does it; at another the API server cuts its connections for half
a minute and then answers 500 for another one, while a run that lives is reported failed, so that two runs work on the
same partitions. At the end each partition must be recorded and stored once, and equal to what an undisturbed run in
this process makes: the hours of runs that did not succeed, and a sample of the others (`--compare 1`: all).

Exits with 1 where a partition is missing or differs. Needs root and namespaces,
prometheus, promtool and postgres; `--folder` keeps the made cluster for the next time.
"""

import argparse
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

sys.path.insert(0, str(Path(__file__).parents[1]))  # the runner, the real Prometheus and PostgreSQL of the tests
from benchmarks.scale.verdict import Row, show
from podpower.hours import HOUR_S, start_of_hour
from podpower_assets.partitions import range_tags
from podpower_assets.retry_tags import tag_retry
from tests.runner.scaled import ASSETS, Scaled, scaled

_OUTAGE_S = 30.0  # of each kind
_LEAST_DONE_S = 4 * 3600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=72)
    parser.add_argument("--workloads", type=int, default=200)
    parser.add_argument("--compare", type=float, default=0.05, help="share of the other hours (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="of the made cluster, kept")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request to S3
    with tempfile.TemporaryDirectory(prefix="pods-") as temporary:
        folder = Path(temporary)
        start_s = start_of_hour(time.time()) - (arguments.hours + 1) * HOUR_S
        kept = arguments.folder or folder / "made"
        with scaled(
            folder, workloads=arguments.workloads, hours=arguments.hours, start_s=start_s, values={}, kept=kept
        ) as up:
            note("the platform pod is ready")
            return report(up, folder, arguments.compare)


def report(up: Scaled, folder: Path, share: float) -> int:
    """Run the backfill, and print each figure beside its goal."""
    began_s = time.monotonic()
    up.backfill("bench", up.hours)
    disturbed(up)
    status = up.until_done("bench", seconds=_LEAST_DONE_S)
    seconds = time.monotonic() - began_s
    runs = Counter(run.status.value for run in up.runs("bench"))
    pods = Counter(str(pod.labels.get("dagster/op", "run")) for pod in up.jobs.started)
    hours = compared_hours(up, share)
    note(f"{status} after {seconds:.0f} s, {dict(runs)}; comparing {len(hours)} hours")
    problems = up.problems(hours, folder / "undisturbed")
    for problem in problems[:10]:
        print(f"  {problem}")
    print(f"{up.made.hours} hours x {len(ASSETS)} assets of {up.made.pods} pods: {seconds / 60:.1f} min")
    print(f"runs: {dict(runs)}; pods: {sum(pods.values())}, {dict(pods)}")
    partitions = up.made.hours * len(ASSETS)
    return show(
        [
            Row("state of the backfill", status, "COMPLETED_SUCCESS", status == "COMPLETED_SUCCESS"),
            Row("partitions missing or different", f"{len(problems)} of {partitions}", "0", not problems),
            Row("hours compared", f"{len(hours)} of {up.made.hours}", "", bool(hours)),
            Row("requests that the Roles refused", str(len(up.grants.refused)), "0", not up.grants.refused),
        ]
    )


def compared_hours(up: Scaled, share: float) -> list[str]:
    """Return the hours of runs that did not succeed, and a sample of the others."""
    suspects: set[str] = set()
    for run in up.runs("bench"):
        if run.status != dg.DagsterRunStatus.SUCCESS:
            first, last = (run.tags[tag] for tag in range_tags("", ""))
            suspects |= {hour for hour in up.hours if first <= hour <= last}
    others = [hour for hour in up.hours if hour not in suspects]
    return sorted({*suspects, *random.Random(1).sample(others, round(share * len(others)))})


def disturbed(up: Scaled) -> None:
    """Kill a pod, and let the API server fail."""
    lost = up.until_working("features", seconds=_LEAST_DONE_S)
    up.runner.kill(lost)
    note(f"killed {lost.name}")
    living = up.until_working("kepler_labels", seconds=_LEAST_DONE_S)
    run_id = living.labels["dagster/run-id"]
    note(f"outage of the API server; run {run_id} is reported failed and lives on")
    up.cluster.outage = 0
    run = up.instance.get_run_by_id(run_id)
    assert run is not None
    tag_retry(up.instance, run)
    up.instance.report_run_failed(run, "the API server does not answer")
    time.sleep(_OUTAGE_S)
    up.cluster.outage = 500
    time.sleep(_OUTAGE_S)
    up.cluster.outage = None
    note("the API server answers again")


def note(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
