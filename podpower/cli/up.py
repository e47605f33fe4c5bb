"""`podpower up`: the Dagster UI, its sensors and schedules, and the prediction API, until Ctrl-C."""

import argparse
import contextlib
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from podpower.cli import output, ports, supervisor
from podpower.cli.arguments import Commands, add_command, port, positive
from podpower.cli.homes import UP_LOCK, Home, home_at, home_environment
from podpower.cli.signals import terminate_as_interrupt
from podpower.cli.supervisor import Need, Processes
from podpower.errors import Unavailable
from podpower.io.leftovers import remove_leftovers
from podpower.io.locks import lock
from podpower.service_settings import API_PORT, DEFAULT_API_PORT, DEFAULT_DAGSTER_PORT
from podpower.settings import (
    ALERT_WEBHOOK,
    CLUSTERS,
    DAGSTER_HOME,
    DEFAULT_HOME,
    HOME,
    PROMETHEUS_URL,
    RECORDING,
    Settings,
)

# One name for the code location, here and in workspace.yaml: sensors keep their cursors under it.
_LOCATION, _DEFINITIONS = "podpower", "podpower_assets.definitions"
_START_SECONDS = 180.0
_WATCH_SECONDS = 0.5
_ALARM_SECONDS = 10.0


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "up",
        run,
        summary="Run the Dagster UI with sensors and schedules, and the prediction API, until Ctrl-C.",
        details=f"""\
With {CLUSTERS} a collector observes each cluster of that file, with {PROMETHEUS_URL} the live cluster of
KUBECONFIG; --no-collector reads the journals of collectors that run elsewhere. Without both, and without a recording of
yours in {RECORDING}, a simulated cluster is followed in real time.
A process that ends is started again, after longer and longer waits. One that keeps ending is reported, also to
{ALERT_WEBHOOK}, and started again every minute; the others go on. While `up` starts, the end of one stops all.
{HOME}, PODPOWER_DAGSTER_PORT and PODPOWER_API_PORT are the defaults of --home, --dagster-port and --api-port.

  podpower up
  {RECORDING}=/data/recording podpower up --dagster-port 3001 --api-port 8001
""",
    )
    parser.add_argument(
        "--home",
        metavar="DIR_OR_URL",
        help="folder or URL (s3://, gs://, az://) of data and models (default .podpower); of a URL, Dagster's history "
        "and logs stay in .podpower",
    )
    parser.add_argument(
        "--dagster-port", type=port, metavar="PORT", help=f"of the Dagster UI (default {DEFAULT_DAGSTER_PORT})"
    )
    parser.add_argument(
        "--api-port", type=port, metavar="PORT", help=f"of the prediction API (default {DEFAULT_API_PORT})"
    )
    parser.add_argument(
        "--collector",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="start the collector of a live cluster (default: yes)",
    )
    parser.add_argument(
        "--hours", type=positive, default=6, help="hours of simulated history to begin with (default %(default)s)"
    )
    parser.add_argument(
        "--workloads", type=positive, default=40, help="about how many to simulate (default %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Start every process, print where each one listens, and restart those that end."""
    settings = arguments.settings
    dagster_port = arguments.dagster_port or settings.service.dagster_port
    api_port = arguments.api_port or settings.service.api_port
    _check_port(dagster_port, of="Dagster UI", option="--dagster-port")
    _check_port(api_port, of="prediction API", option="--api-port")
    home = home_at(arguments.home or settings.places.home or DEFAULT_HOME)
    check_answers(home)
    environment = home_environment(home, settings.environment, note=output.note) | {API_PORT: str(api_port)}
    children = Processes(logs=home.local / "logs", environment=environment)
    alarm = partial(_alarm, settings.assets.alert_webhook)
    with terminate_as_interrupt(), _alone(Path(environment[DAGSTER_HOME])), children:
        for part in remove_leftovers(home.local):
            output.note(f"removed {part}, which a killed writer left")
        if settings.places.clusters_file:
            _collect_several(children, Settings(environment), starts=arguments.collector)
        elif settings.prometheus.url:
            _collect(children, environment[RECORDING], starts=arguments.collector)
        elif not settings.places.given_recording:
            _follow(children, environment[RECORDING], arguments)
        children.start("api", supervisor.podpower_command("serve", "--port", str(api_port)))
        _start_dagster(children, Path(environment[DAGSTER_HOME]), dagster_port)
        dagster_url, api_url = f"http://127.0.0.1:{dagster_port}", f"http://127.0.0.1:{api_port}"
        for what, url in (("the Dagster UI", f"{dagster_url}/server_info"), ("the API", f"{api_url}/healthz")):
            output.note(f"waiting for {what}")
            children.wait_until(lambda url=url: ports.answers(url), what=what, timeout_seconds=_START_SECONDS)  # type: ignore[misc]
        print(f"Dagster UI      {dagster_url}")
        print(f"prediction API  {api_url}/docs   (ready as soon as the first model is promoted)")
        print(f"logs            {home.local / 'logs'}")
        print("Ctrl-C stops everything.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            while True:
                children.supervise(output.note, alarm)
                time.sleep(_WATCH_SECONDS)
    return 0


def _alarm(webhook: str | None, reason: str) -> None:
    """Print the reason, and post it: where Dagster itself does not run, its sensor `alerts` cannot."""
    import httpx  # noqa: PLC0415  # an extra

    output.note(reason)
    if webhook:
        try:
            httpx.post(webhook, json={"text": f"podpower: {reason}"}, timeout=_ALARM_SECONDS).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            output.note(f"{ALERT_WEBHOOK} does not take this message: {type(error).__name__}")  # its URL is a secret


def _check_port(number: int, *, of: str, option: str) -> None:
    """Raise Unavailable when another process listens on a port."""
    if not ports.is_free(number):
        raise Unavailable(f"port {number} for the {of} is taken: stop what listens there, or give another {option}")


def check_answers(home: Home) -> None:
    """Return if the home is a folder, or a URL that answers; Unavailable otherwise, before anything is started, and
    InvalidInput where its bucket does not exist.
    """
    from podpower.io.object_storage import ObjectStorage  # noqa: PLC0415  # slow to import, for help
    from podpower.io.places import check_bucket, is_url  # noqa: PLC0415

    if is_url(home.root):
        check_bucket(home.root)
        ObjectStorage(home.root).children("models")


def _alone(dagster_home: Path) -> AbstractContextManager[object]:
    """Refuse to run beside another `up`: two daemons would start each run twice."""
    busy = f"another `podpower up` uses {dagster_home}: stop it, or name another folder with --home"
    return lock(dagster_home / UP_LOCK, busy=busy)


def _start_dagster(children: Processes, dagster_home: Path, ui_port: int) -> None:
    """Start the code server, then the daemon and the UI that depend on it.

    Runs are processes of the code server's group: where it ends, they do. The daemon starts by failing runs without a
    process, which frees the queue, and retries them; it is stopped while there is no code server to run them.
    """
    code_port = ports.free_port()
    workspace = dagster_home / "workspace.yaml"
    workspace.write_text(
        "# Written at each start of `podpower up`.\n"
        f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code_port}, location_name: {_LOCATION}}}\n"
    )
    server = ("api", "grpc", "--host", "127.0.0.1", "--port", str(code_port), "--location-name", _LOCATION)
    # Dagster puts this folder on the path, by default the working directory.
    module = ("--working-directory", str(dagster_home), "--module-name", _DEFINITIONS)
    children.start("code-server", supervisor.python_command("dagster", *server, *module))
    output.note("waiting for the Dagster definitions")
    ready = partial(ports.listens, code_port)
    children.wait_until(ready, what="the code server", timeout_seconds=_START_SECONDS)
    served = ("--workspace", str(workspace))
    daemon = supervisor.python_command("podpower_assets.daemon", "run", *served)
    children.start("daemon", daemon, needs=Need("code-server", ready))
    ui = ("--host", "127.0.0.1", "--port", str(ui_port), "--live-data-poll-rate", "2000")
    children.start("webserver", supervisor.python_command("dagster_webserver", *ui, *served))


def _collect(children: Processes, journal: str, *, starts: bool) -> None:
    """Start the collector, the only writer of the journal; without it, another process is."""
    if not starts:
        output.note(f"reading the journal {journal}, which another collector writes")
        return
    output.note(f"following a live cluster, its objects kept in {journal}")
    children.start("collector", supervisor.podpower_command("collect", "watch", "--journal", journal))


def _collect_several(children: Processes, settings: Settings, *, starts: bool) -> None:
    """Start a collector for each cluster of the file. One that keeps ending stops no other, and none of the rest."""
    from podpower.clusters import configured_clusters  # noqa: PLC0415  # YAML is slow to import, for help
    from podpower.collector.order import check_first  # noqa: PLC0415

    clusters = configured_clusters(settings)
    check_first(clusters)
    for cluster in clusters:
        if cluster.entry is None or cluster.entry.recording:
            output.note(f"reading the recording {cluster.place} as cluster {cluster.name}")
            continue
        output.note(f"following cluster {cluster.name}, its objects kept in {cluster.place}")
        if starts:
            command = ("collect", "watch", "--cluster", cluster.name, "--journal", cluster.place)
            children.start(f"collector-{cluster.name}", supervisor.podpower_command(*command), stands_alone=True)


def _follow(children: Processes, recording: str, arguments: argparse.Namespace) -> None:
    """Start a simulation in real time, or continue the recording of the last one."""
    output.note(f"following a simulated cluster, recorded in {recording}")
    sizes = ("--hours", str(arguments.hours), "--workloads", str(arguments.workloads))
    children.start("simulation", supervisor.podpower_command("simulate", "--out", recording, *sizes, "--follow"))
    written = Path(recording) / "recording.json"
    children.wait_until(written.exists, what="the simulation", timeout_seconds=_START_SECONDS)
