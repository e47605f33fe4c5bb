"""Runs of the scaled profile are Jobs; their pods share nothing but PostgreSQL and S3. Pods and API server are lost.

The platform pod, its runs and their steps run as Helm renders them, under their Roles. `benchmarks/bench_pods.py` does
the same with 72 hours of 200 workloads.
"""

import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.utils import make_new_run_id

from podpower.hours import HOUR_S, start_of_hour
from podpower_assets.retry_tags import tag_retry
from tests.clusters.prometheus import need_prometheus
from tests.runner import need_namespaces
from tests.runner.scaled import Scaled, scaled

ASSETS = ("workload_specs", "features", "kepler_labels")
HOURS, WORKLOADS = 3, 5
OUTAGE_S = 6.0


@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning")  # Dagster calls it itself
def test_a_backfill_in_pods_survives_the_loss_of_a_pod_and_of_the_api_server(tmp_path: Path) -> None:
    """In one test: other workers would take single ones, and each needs the platform."""
    need_namespaces()
    need_prometheus()
    start_s = start_of_hour(time.time()) - (HOURS + 1) * HOUR_S
    made = {"workloads": WORKLOADS, "hours": HOURS, "start_s": start_s, "kept": tmp_path / "made"}
    with scaled(tmp_path, **made, values={"webhook": {"enabled": False}}, quick=True) as up:
        up.backfill("first", up.hours, ASSETS)
        up.runner.kill(up.until_working("features"))
        up.until_working("features")
        an_outage_of_the_api_server_ends_no_run(up)
        assert up.until_done("first", seconds=600) == "COMPLETED_SUCCESS"
        a_run_that_lived_on_ends_with_its_pods(up)
        the_lost_step_was_started_again(up)
        assert len(up.runs("first")) > 1
        assert up.problems(up.hours, tmp_path / "undisturbed", ASSETS) == []
        a_cancelled_run_leaves_no_pod(up)
        nothing_was_refused_and_nothing_granted_in_vain(up)


def an_outage_of_the_api_server_ends_no_run(up: Scaled) -> None:
    """A run is reported failed meanwhile, as Dagster's own launcher would, and lives on."""
    [run] = up.runs("first")
    up.cluster.outage = 0
    assert up.instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    tag_retry(up.instance, run)
    up.instance.report_run_failed(run, "the API server does not answer")
    time.sleep(OUTAGE_S / 2)
    up.cluster.outage = 500
    time.sleep(OUTAGE_S / 2)
    up.cluster.outage = None


def a_run_that_lived_on_ends_with_its_pods(up: Scaled) -> None:
    up.until("end of all pods", lambda: not up.jobs.pods(), seconds=120)


def the_lost_step_was_started_again(up: Scaled) -> None:
    first = min(up.runs("first"), key=lambda run: run.tags.get("dagster/retry_number", "0"))
    events = up.instance.all_logs(first.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
    assert {event.step_key for event in events} == {"features"}


def a_cancelled_run_leaves_no_pod(up: Scaled) -> None:
    up.backfill("second", up.hours[:1], ASSETS[:1])
    up.until_working(ASSETS[0])
    [run] = up.runs("second")
    assert up.instance.run_launcher.terminate(run.run_id)
    up.until("end of all pods", lambda: not up.jobs.pods(), seconds=120)
    up.until("end of the run", lambda: up.instance.get_run_by_id(run.run_id).is_finished, seconds=120)
    assert [pod for pod in up.cluster.objects("Pod") if pod["status"]["phase"] in {"Pending", "Running"}] == []


def nothing_was_refused_and_nothing_granted_in_vain(up: Scaled) -> None:
    """Behind all that; the rest is what run monitoring looks up about a run that does not start."""
    launcher = up.instance.run_launcher
    assert "Debug information for pod" in launcher.get_run_worker_debug_info(up.runs("first")[0])
    absent = dg.DagsterRun(job_name="__ASSET_JOB", run_id=make_new_run_id())
    assert "Could not find job" in launcher.get_run_worker_debug_info(absent)
    assert up.grants.refused == []
    assert up.grants.unused(up.cluster.requests, "podpower-platform", "podpower-run") == {}
