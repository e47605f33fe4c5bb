"""A run whose process is gone is found, whatever state it was left in; one that is alive is left alone."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.instance.config import PoolGranularity
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG, WILL_RETRY_TAG
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._daemon.monitoring import run_monitoring

from podpower.cli.ports import free_port
from podpower.settings import Settings
from podpower_assets import launcher
from podpower_assets.daemon import fail_orphans, limit_pools
from podpower_assets.launcher import LocalRunLauncher
from tests.assets.conftest import ASSETS, DEFS

ROOT = Path(__file__).parents[2]

UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    settings = {"run_launcher": {"module": "podpower_assets.launcher", "class": "LocalRunLauncher"}}
    with dg.instance_for_test(overrides=settings) as instance:
        yield instance


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, *, pid: int | None, host: str = "127.0.0.1"
) -> dg.DagsterRun:
    """A run that a code server which is gone has started."""
    job = DEFS.resolve_job_def("finished_hour")
    tags = {GRPC_INFO_TAG: json.dumps({"host": host, "port": free_port()})}
    made = instance.create_run_for_job(job, status=status, tags=tags)
    if pid is not None:
        instance.report_engine_event("Started process for run.", made, EngineEventData.in_process(pid))
    return made


def status_of(instance: dg.DagsterInstance, made: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(made.run_id)
    assert found is not None
    return found.status


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_run_whose_process_is_gone_fails(
    instance: dg.DagsterInstance, dead_pid: int, status: dg.DagsterRunStatus
) -> None:
    made = run(instance, status, pid=dead_pid)
    [line] = fail_orphans(instance)
    assert made.run_id in line
    assert f"process {dead_pid} is gone" in line
    assert status_of(instance, made) == dg.DagsterRunStatus.FAILURE
    assert fail_orphans(instance) == []


def test_a_run_that_was_starting_and_has_no_process_yet_fails(instance: dg.DagsterInstance) -> None:
    made = run(instance, dg.DagsterRunStatus.STARTING, pid=None)
    assert "no process was started" in fail_orphans(instance)[0]
    assert status_of(instance, made) == dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_run_whose_process_lives_is_left_alone(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    made = run(instance, status, pid=os.getpid())
    assert fail_orphans(instance) == []
    assert status_of(instance, made) == status


def test_a_later_process_with_the_same_number_is_not_the_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_CLOCK_SLACK_SECONDS", -1e6)  # as if this process had begun long after the event
    run(instance, dg.DagsterRunStatus.STARTED, pid=os.getpid())
    assert len(fail_orphans(instance)) == 1


def test_a_run_on_another_machine_is_left_to_its_time_limit(instance: dg.DagsterInstance, dead_pid: int) -> None:
    made = run(instance, dg.DagsterRunStatus.STARTED, pid=dead_pid, host="192.0.2.1.invalid")
    assert fail_orphans(instance) == []
    assert status_of(instance, made) == dg.DagsterRunStatus.STARTED


def test_run_monitoring_learns_of_a_dead_process_from_the_launcher(instance: dg.DagsterInstance, dead_pid: int) -> None:
    launches = instance.run_launcher
    assert isinstance(launches, LocalRunLauncher)
    assert launches.supports_check_run_worker_health
    dead = launches.check_run_worker_health(run(instance, dg.DagsterRunStatus.STARTED, pid=dead_pid))
    alive = launches.check_run_worker_health(run(instance, dg.DagsterRunStatus.STARTED, pid=os.getpid()))
    assert (dead.status, alive.status) == (WorkerStatus.FAILED, WorkerStatus.RUNNING)
    assert "is gone" in str(dead)


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.FAILURE),
        (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.FAILURE),
        (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED),
    ],
)
def test_a_run_that_a_killed_daemon_left_half_way_ends_after_the_shipped_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus, end: dg.DagsterRunStatus
) -> None:
    """Between its creation and the queue, its launch, or its end: sensors wait while it is there."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as shipped:
        made = run(shipped, dg.DagsterRunStatus.NOT_STARTED, pid=None)
        if status == dg.DagsterRunStatus.STARTING:
            shipped.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", made.job_name), made.run_id)
        if status == dg.DagsterRunStatus.CANCELING:
            shipped.report_run_canceling(made)
        assert status_of(shipped, made) == status
        later_s = time.time() + shipped.run_monitoring_start_timeout_seconds + 10
        monkeypatch.setattr(run_monitoring, "get_current_timestamp", lambda: later_s)
        monkeypatch.setattr(time, "time", lambda: later_s)
        context = cast("IWorkspaceProcessContext", Context(shipped))
        list(run_monitoring.execute_run_monitoring_iteration(context, logging.getLogger("daemon")))
        ended = shipped.get_run_by_id(made.run_id)
        assert ended is not None
        assert ended.status == end
        assert ended.tags.get(WILL_RETRY_TAG) == ("true" if end == dg.DagsterRunStatus.FAILURE else None)


class Context:
    """Dagster's instance and code servers, as its daemons have them; there are no code servers."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def create_request_context(self) -> None:
        return None


def test_the_daemon_limits_every_pool_that_an_asset_uses(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as shipped:
        limit_pools(shipped, Settings({"PODPOWER_EXPORT_RUNS": "5"}).assets)
        limits = {pool.name: pool.limit for pool in shipped.event_log_storage.get_pool_limits()}
        assert shipped.get_concurrency_config().pool_config.pool_granularity == PoolGranularity.RUN
    pools = {pool for asset in ASSETS for pool in asset.node_def.pools}
    assert pools == {"training", "export"}
    assert limits == {"training": 1, "export": 5}


def test_the_shipped_settings_use_the_launcher_with_retries_and_limits(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as shipped:
        assert isinstance(shipped.run_launcher, LocalRunLauncher)
        assert shipped.run_monitoring_enabled
        assert shipped.run_monitoring_max_runtime_seconds > 0
        assert shipped.run_retries_enabled
        assert shipped.run_retries_max_retries > 0
        assert shipped.scheduler.max_tick_retries > 0
