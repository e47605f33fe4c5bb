"""No request of a sensor, a schedule or a backfill is lost or doubled where database, code server or daemon go away
meanwhile: with a real code server, and the functions of Dagster's daemons.
"""

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon import sensor as sensor_daemon
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from podpower.cli.ports import free_port, listens
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Dagster's own code
ROOT = Path(__file__).parents[2]
LOG = logging.getLogger("daemon")
AWAY = sqlalchemy.exc.OperationalError("INSERT", {}, Exception("server closed the connection unexpectedly"))


class Daemon:
    """Dagster's daemons on an instance with the shipped settings, and the code server that they use."""

    def __init__(self, instance: dg.DagsterInstance, port: int) -> None:
        self.instance, self.port = instance, port
        self.server = self.start()
        self.context: WorkspaceProcessContext

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--module-name", "tests.assets.decisions", "--location-name", "decisions"]
        self.server = subprocess.Popen(command, cwd=ROOT)
        until(lambda: listens(self.port), seconds=60)
        return self.server

    def kill_server(self) -> None:
        self.server.kill()
        self.server.wait()

    def look(self) -> None:
        """Run one iteration of the daemon of sensors."""
        list(execute_sensor_iteration(self.context, LOG, None, None))

    def schedule(self, at: datetime) -> None:
        """Run one iteration of the scheduler."""
        retries = self.instance.scheduler.max_tick_retries  # type: ignore[union-attr]
        list(launch_scheduled_runs(self.context, LOG, at, {}, None, None, max_tick_retries=retries))

    def keys(self) -> list[str]:
        """Return the run keys of all runs, oldest first."""
        return [run.tags["dagster/run_key"] for run in self.instance.get_runs()[::-1]]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setattr(sensor_daemon, "is_under_min_interval", lambda *_: False)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        port = free_port()
        made = Daemon(instance, port)
        try:
            target = GrpcServerTarget(host="127.0.0.1", port=port, socket=None, location_name="decisions")
            with create_test_daemon_workspace_context(target, instance) as made.context:
                yield made
        finally:
            made.kill_server()


def fail_second(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, error: BaseException, *, times: int) -> None:
    """Let the creation of each second run fail so often."""
    create: Callable[..., dg.DagsterRun] = daemon.instance.create_run
    calls = [0, 0]

    def created(**options: object) -> dg.DagsterRun:
        if daemon.keys() and calls[1] < times:
            calls[1] += 1
            raise error
        return create(**options)

    monkeypatch.setattr(daemon.instance, "create_run", created)


@pytest.mark.parametrize("times", [1, 2, 3], ids=["once", "twice", "three times"])
def test_runs_of_a_tick_that_the_database_refused_are_made_once(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The daemon submits them once more; then the sensor is evaluated from its cursor of before."""
    fail_second(daemon, monkeypatch, AWAY, times=times)
    for _ in range(times + 1):
        daemon.look()
    assert daemon.keys() == ["1 1", "1 2"]
    daemon.look()
    assert daemon.keys() == ["1 1", "1 2", "2 1", "2 2"]


def test_runs_of_a_tick_in_which_the_daemon_was_killed_are_made_once(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_second(daemon, monkeypatch, KeyboardInterrupt(), times=1)
    with pytest.raises(KeyboardInterrupt):
        daemon.look()
    assert daemon.keys() == ["1 1"]
    daemon.look()
    daemon.look()
    assert daemon.keys() == ["1 1", "1 2", "2 1", "2 2"]


def test_a_tick_without_a_code_server_is_made_when_it_is_back(daemon: Daemon) -> None:
    daemon.look()
    daemon.kill_server()
    for _ in range(3):
        daemon.look()
    daemon.start()
    daemon.look()
    assert daemon.keys() == ["1 1", "1 2", "2 1", "2 2"]


def seventh_minute(daemon: Daemon) -> datetime:
    """Let the scheduler see the schedule, and return the time of its next tick."""
    now = datetime.now(UTC)
    daemon.schedule(now)
    hour = now.replace(minute=7, second=0, microsecond=0)
    return hour if hour > now else hour + timedelta(hours=1)


def test_a_schedule_is_evaluated_when_the_code_server_is_back(daemon: Daemon) -> None:
    at = seventh_minute(daemon)
    daemon.kill_server()
    for second in range(3):
        daemon.schedule(at + timedelta(seconds=second))
    daemon.start()
    daemon.schedule(at + timedelta(minutes=20))
    assert daemon.keys() == [at.isoformat()]


def test_a_schedule_is_evaluated_again_where_the_database_refused_its_run(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `max_tick_retries` its next time was the next hour, or tomorrow."""
    at = seventh_minute(daemon)

    def away(**_options: object) -> None:
        raise AWAY

    with monkeypatch.context() as patched:
        patched.setattr(daemon.instance, "create_run", away)
        for second in range(3):
            daemon.schedule(at + timedelta(seconds=second))
    daemon.schedule(at + timedelta(seconds=30))
    daemon.schedule(at + timedelta(seconds=60))
    assert daemon.keys() == [at.isoformat()]


def test_runs_wait_for_the_code_server_for_minutes_and_fail_to_be_retried(daemon: Daemon) -> None:
    daemon.look()
    daemon.kill_server()
    queue, seen = QueuedRunCoordinatorDaemon(interval_seconds=1), list[set[str]]()
    for attempt in range(12):
        list(queue.run_iteration(daemon.context, fixed_iteration_time=time.time() + 31.0 * attempt))
        seen.append({run.status.value for run in daemon.instance.get_runs()})
    assert seen[:5] == [{"QUEUED"}] * 5
    assert seen[-1] == {"FAILURE"}
    assert {run.tags["dagster/will_retry"] for run in daemon.instance.get_runs()} == {"true"}


def test_a_backfill_goes_on_when_the_code_server_is_back(daemon: Daemon) -> None:
    """It is not given up, however long that takes: such failures are not counted."""

    def go_on() -> list[dg.DagsterRun]:
        list(execute_backfill_iteration(daemon.context, LOG))
        return list(daemon.instance.get_runs())

    graph = daemon.context.create_request_context().asset_graph
    daemon.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            asset_graph=graph, backfill_id="bcdfghjk", tags={}, backfill_timestamp=time.time(),
            asset_selection=[dg.AssetKey("table")], partition_names=["monday", "tuesday"],
            dynamic_partitions_store=daemon.instance, all_partitions=False, title=None, description=None,
            run_config=None,
        )
    )  # fmt: skip
    daemon.kill_server()
    assert go_on() == go_on() == []
    backfill = daemon.instance.get_backfill("bcdfghjk")
    assert backfill is not None
    assert (backfill.status, backfill.failure_count) == (BulkActionStatus.REQUESTED, 0)
    daemon.start()
    until(lambda: len(go_on()) == 2, every_s=0.5)
    assert {run.tags["dagster/asset_partition_range_start"] for run in go_on()} == {"monday", "tuesday"}
