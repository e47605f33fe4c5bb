"""A run launcher that reports whether the process of a run is alive, so that run monitoring fails runs without one."""

import json

import dagster as dg
import psutil
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value

from podpower_assets.retry_tags import tag_retry

_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
# Start times are computed from the boot time, which moves when the clock is set.
_CLOCK_SLACK_SECONDS = 60.0


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Starts runs through the code server, as Dagster's default does, and checks their processes."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring calls `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return RUNNING or FAILED; run monitoring reports a started run failed unless it is RUNNING."""
        reason = reason_of_death(self._instance, run)
        if reason:
            tag_retry(self._instance, run)
        return CheckRunHealthResult(WorkerStatus.FAILED if reason else WorkerStatus.RUNNING, reason)


def reason_of_death(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Return why the run cannot be alive; None when it is, or when this machine cannot know.

    The code server that started the run lists it. Where it does not, on this machine the process decides: a code
    server that was started again does not know the runs of the one before it.
    """
    server = _code_server(run)
    listed = None if server is None else _listed_runs(server)
    if listed is not None and run.run_id in listed:
        return None
    if server is not None and server.host not in _LOCAL_HOSTS:
        return None if listed is None else f"the code server on {server.host} does not run it (any more)"
    process = _process(instance, run)
    if process is None:
        return "no process was started for it"
    pid, started_s = process
    return None if _is_alive(pid, started_s) else f"its process {pid} is gone"


def _code_server(run: dg.DagsterRun) -> DagsterGrpcClient | None:
    """Return a client of the code server that started the run; None for a run that none did."""
    info = json.loads(run.tags.get(GRPC_INFO_TAG) or "null")
    if info is None:
        return None
    return DagsterGrpcClient(
        host=info["host"], port=info.get("port"), socket=info.get("socket"), use_ssl=bool(info.get("use_ssl"))
    )


def _listed_runs(server: DagsterGrpcClient) -> set[str] | None:
    """Return the ids of the runs of a code server; None where it cannot be reached or does not list them."""
    try:
        answer = deserialize_value(server.get_current_runs(), GetCurrentRunsResult)
    except DagsterUserCodeUnreachableError:
        return None
    return set(answer.current_runs)


def _process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[int, float] | None:
    """Return the process id that the run reported first, and when: later ones may be those of steps."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None:
            return int(str(pid.value)), entry.timestamp
    return None


def _is_alive(pid: int, seen_s: float) -> bool:
    """Return whether a process lives that may be the one seen then, and not a later one with its number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= seen_s + _CLOCK_SLACK_SECONDS
    except psutil.NoSuchProcess:
        return False
