"""`podpower up`: the Dagster UI, its sensors and schedules, and the prediction API, until Ctrl-C."""

import argparse
import contextlib
import time
from pathlib import Path

from podpower.cli import output, processes
from podpower.cli.arguments import Commands, add_command, port, positive
from podpower.cli.homes import home_environment
from podpower.cli.processes import Processes
from podpower.errors import Unavailable
from podpower.settings import DEFAULT_HOME, HOME, PROMETHEUS_URL, RECORDING

_START_SECONDS = 180.0


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "up",
        run,
        summary="Run the Dagster UI with sensors and schedules, and the prediction API, until Ctrl-C.",
        details=f"""\
With {PROMETHEUS_URL} the live cluster of KUBECONFIG is followed. Without it, and without a recording of yours in
{RECORDING}, a simulated cluster is followed in real time.
{HOME}, PODPOWER_DAGSTER_PORT and PODPOWER_API_PORT are the defaults of --home, --dagster-port and --api-port.

  podpower up
  {RECORDING}=/data/recording podpower up --dagster-port 3001 --api-port 8001
""",
    )
    parser.add_argument(
        "--home", metavar="DIR", help="folder for data, models, Dagster's history and logs (default .podpower)"
    )
    parser.add_argument("--dagster-port", type=port, metavar="PORT", help="of the Dagster UI (default 3000)")
    parser.add_argument("--api-port", type=port, metavar="PORT", help="of the prediction API (default 8000)")
    parser.add_argument(
        "--hours", type=positive, default=6, help="hours of simulated history to begin with (default %(default)s)"
    )
    parser.add_argument(
        "--workloads", type=positive, default=40, help="about how many to simulate (default %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Start everything, tell where it is, and wait."""
    settings = arguments.settings
    dagster_port = arguments.dagster_port or settings.service.dagster_port
    api_port = arguments.api_port or settings.service.api_port
    for name, number in (("Dagster UI", dagster_port), ("prediction API", api_port)):
        if not processes.is_free(number):
            raise Unavailable(f"port {number} for the {name} is taken: stop what listens there, or give another port")
    home = Path(arguments.home or settings.places.home or DEFAULT_HOME).resolve()
    environment = home_environment(home, settings.environment)
    with processes.terminate_as_interrupt(), Processes(logs=home / "logs", environment=environment) as children:
        if settings.prometheus.url:
            output.note(f"following a live cluster, its objects kept in {environment[RECORDING]}")
        elif not settings.places.given_recording:
            _follow(children, environment[RECORDING], arguments)
        children.start("dagster", processes.dagster_command(dagster_port))
        children.start("api", processes.podpower_command("serve", "--port", str(api_port)))
        dagster_url, api_url = f"http://127.0.0.1:{dagster_port}", f"http://127.0.0.1:{api_port}"
        for what, url in (("the Dagster UI", f"{dagster_url}/server_info"), ("the API", f"{api_url}/healthz")):
            output.note(f"waiting for {what}")
            children.wait_until(lambda url=url: processes.answers(url), what=what, timeout_seconds=_START_SECONDS)  # type: ignore[misc]
        print(f"Dagster UI      {dagster_url}")
        print(f"prediction API  {api_url}/docs   (ready as soon as the first model is promoted)")
        print(f"logs            {home / 'logs'}")
        print("Ctrl-C stops everything.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            while True:
                children.check()
                time.sleep(0.5)
    return 0


def _follow(children: Processes, recording: str, arguments: argparse.Namespace) -> None:
    """Start, or take up again, a simulation that goes on in real time."""
    output.note(f"following a simulated cluster, recorded in {recording}")
    sizes = ("--hours", str(arguments.hours), "--workloads", str(arguments.workloads))
    children.start("simulation", processes.podpower_command("simulate", "--out", recording, *sizes, "--follow"))
    written = Path(recording) / "recording.json"
    children.wait_until(written.exists, what="the simulation", timeout_seconds=_START_SECONDS)
