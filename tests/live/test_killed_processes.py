"""Training goes on after kill -9 of any process: the daemon, a run, the code server, the API, and `up` itself."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml

from podpower.simulation import change_workload
from tests.live.platforms import ROOT, Platform, up

UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
TEN_MINUTES = 600.0  # what is promised; a quiet machine needs one
DAEMON, RUN, API = ("daemon", "--workspace"), ("--multiprocessing-fork",), ("podpower", "serve")
CODE_SERVER = ("dagster", "api", "grpc")

pytestmark = [pytest.mark.timeout(2000), pytest.mark.xdist_group("live")]


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


def change(platform: Platform, image: str) -> None:
    change_workload(platform.recording, namespace="shop", kind="Deployment", name="frontend", image=image)


def kill(processes: list[psutil.Process]) -> None:
    assert processes
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def unfinished_runs(home: Path) -> list[str]:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [run.run_id for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))]


def running(platform: Platform) -> list[psutil.Process]:
    """The processes of a run that has started; waits for one."""

    def ask() -> list[psutil.Process] | None:
        found = platform.processes(*RUN)
        return found if found and unfinished_runs(platform.home) else None

    return platform.until("run", ask, seconds=TEN_MINUTES, every=0.3)


def test_a_newer_model_is_promoted_after_the_daemon_a_run_and_the_code_server_were_killed(
    platform: Platform,
) -> None:
    first = platform.until("first model", platform.model, seconds=TEN_MINUTES)

    change(platform, "nginx:9.1")
    kill(running(platform))
    kill(platform.processes(*DAEMON))
    second = platform.model_after(first["version"], seconds=TEN_MINUTES)

    change(platform, "nginx:9.2")
    runs = running(platform)
    kill(platform.processes(*CODE_SERVER) + runs)
    platform.model_after(second["version"], seconds=TEN_MINUTES)

    kill(platform.processes(*API))
    platform.until("API", platform.model, seconds=60)


def test_an_up_that_was_killed_leaves_no_process_and_the_next_one_continues(home: Path) -> None:
    with up(home) as killed:
        first = killed.until("model", killed.model, seconds=TEN_MINUTES)
        killed.process.kill()
        killed.process.wait()
        killed.until("end of every process", lambda: True if not killed.processes() else None, seconds=30)
    with up(home) as unlucky:
        unlucky.until("API", unlucky.model, seconds=TEN_MINUTES)
        change(unlucky, "nginx:9.3")
        running(unlucky)
        kill(unlucky.processes()[::-1])  # all at once, as when the power fails; runs before those that would stop them
        unlucky.process.wait()
    assert unfinished_runs(home)
    with up(home) as platform:
        platform.model_after(first["version"], seconds=TEN_MINUTES)
        platform.until("end of dead runs", lambda: None if unfinished_runs(home) else True, seconds=TEN_MINUTES)
