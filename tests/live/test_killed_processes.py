"""Training goes on after kill -9 of any process: the daemon, a run, the code server, the API, and `up` itself.

Runs are requested as by somebody at the UI: a change of the cluster would be followed minutes later only, as it should.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import httpx
import psutil
import pytest
import yaml

from podpower_assets.partitions import day_key
from tests.live.platforms import ROOT, Platform, up

UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
TEN_MINUTES = 600.0  # what is promised; a quiet machine needs one
DAEMON, RUN, API = ("podpower_assets.daemon",), ("--multiprocessing-fork",), ("podpower", "serve")
CODE_SERVER = ("dagster", "api", "grpc")
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) { ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""

pytestmark = [pytest.mark.timeout(4000), pytest.mark.xdist_group("live")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose Dagster looks after runs every few seconds."""
    home = tmp_path_factory.mktemp("killed")
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    settings["run_monitoring"] |= {"poll_interval_seconds": 5}
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return home


@pytest.fixture
def platform(home: Path) -> Iterator[Platform]:
    with up(home) as running:
        yield running


def train(platform: Platform) -> str:
    """Request a model of today at the UI, wait for the run to start, and return its id."""
    selector = {"repositoryLocationName": "podpower", "repositoryName": "__repository__", "jobName": "finished_day"}
    tags = [{"key": "dagster/partition", "value": day_key(time.time())}]
    variables = {"params": {"selector": selector, "executionMetadata": {"tags": tags}}}
    body = {"query": LAUNCH, "variables": variables}
    launched = httpx.post(f"{platform.dagster_url}/graphql", json=body, timeout=60).json()["data"]["launchRun"]
    run_id: str = launched["run"]["runId"]
    started = dg.DagsterRunStatus.STARTED
    platform.until("run", lambda: status(platform.home, run_id) == started or None, seconds=TEN_MINUTES, every=0.3)
    return run_id


def status(home: Path, run_id: str) -> dg.DagsterRunStatus | None:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        run = instance.get_run_by_id(run_id)
        return run and run.status


def was_retried(home: Path, run_id: str) -> bool:
    """Whether the run failed, and a later one that repeats it succeeded."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        run = instance.get_run_by_id(run_id)
        repeated = dg.RunsFilter(tags={"dagster/root_run_id": run_id}, statuses=[dg.DagsterRunStatus.SUCCESS])
        return run is not None and run.status == dg.DagsterRunStatus.FAILURE and bool(instance.get_runs(repeated))


def kill(processes: list[psutil.Process]) -> None:
    assert processes
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def unfinished_runs(home: Path) -> list[str]:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [run.run_id for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))]


def answers(platform: Platform) -> bool | None:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{platform.dagster_url}/server_info", timeout=10).is_success or None
    return None


def test_a_newer_model_is_promoted_after_each_process_was_killed(platform: Platform) -> None:
    first = platform.until("first model", platform.model, seconds=TEN_MINUTES)

    run = train(platform)
    kill(platform.processes(*RUN) + platform.processes(*DAEMON))
    second = platform.model_after(first["version"], seconds=TEN_MINUTES)
    platform.until("retry", lambda: was_retried(platform.home, run) or None, seconds=TEN_MINUTES)

    run = train(platform)
    kill(platform.processes(*CODE_SERVER) + platform.processes(*RUN))
    platform.model_after(second["version"], seconds=TEN_MINUTES)
    platform.until("retry", lambda: was_retried(platform.home, run) or None, seconds=TEN_MINUTES)

    kill(platform.processes(*API))
    platform.until("API", platform.model, seconds=TEN_MINUTES)

    platform.process.kill()
    platform.process.wait()
    platform.until("end of every process", lambda: True if not platform.processes() else None, seconds=120)


def test_an_up_whose_processes_were_all_killed_at_once_is_continued_by_the_next_one(home: Path) -> None:
    with up(home) as unlucky:
        first = unlucky.until("model", unlucky.model, seconds=TEN_MINUTES)
        unlucky.until("UI", lambda: answers(unlucky), seconds=TEN_MINUTES)
        run = train(unlucky)
        kill(unlucky.processes()[::-1])  # as when the power fails; runs before those that would stop them
        unlucky.process.wait()
    assert unfinished_runs(home)
    with up(home) as platform:
        platform.model_after(first["version"], seconds=TEN_MINUTES)
        platform.until("retry", lambda: was_retried(home, run) or None, seconds=TEN_MINUTES)
        platform.until("end of dead runs", lambda: None if unfinished_runs(home) else True, seconds=TEN_MINUTES)
