"""`podpower demo`, which `make demo` runs: simulate, train through Dagster, serve, and predict over HTTP."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from podpower.cli import output, ports, supervisor
from podpower.cli.arguments import Commands, add_command, positive
from podpower.cli.homes import home_at, home_environment
from podpower.cli.predictions import show_predictions
from podpower.cli.signals import terminate_as_interrupt
from podpower.cli.supervisor import Processes
from podpower.errors import InvalidInput, PodpowerError
from podpower.settings import DAGSTER_HOME, ENCODER_PATH, HOME, MODEL_PATH, MODEL_STORE, PROMETHEUS_URL, RECORDING

_MARK = ".podpower-demo"  # marks a folder that the demo may empty
_START_SECONDS = 60.0
_EXAMPLE = Path("examples/deployment.yaml")
# For an installed package, which has no examples beside it.
_MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop-web}}
  template:
    metadata: {labels: {app: shop-web}}
    spec:
      containers:
        - name: nginx
          image: nginx:1.27
          resources: {requests: {cpu: 250m, memory: 128Mi}, limits: {cpu: 500m, memory: 256Mi}}
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "demo",
        run,
        summary="Simulate a cluster, train through Dagster, serve, predict an example over HTTP, stop.",
        details="  podpower demo\n  podpower demo --home /tmp/demo --hours 48\n",
    )
    parser.add_argument(
        "--home",
        metavar="DIR_OR_URL",
        default=".podpower/demo",
        help="folder or URL to work in, emptied first (default %(default)s)",
    )
    parser.add_argument("--hours", type=positive, default=24, help="hours to simulate (default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run every step; leave no process, whatever happens."""
    started_s = time.monotonic()
    home = home_at(arguments.home)
    _empty(home.root)
    # The caller's own set-up must not mix with that of the demo.
    theirs = {name: value for name, value in arguments.settings.environment.items() if name not in _PLACES}
    environment = home_environment(home, theirs)
    recording = environment[RECORDING]
    with terminate_as_interrupt(), Processes(logs=home.local / "logs", environment=environment) as children:
        with _step(f"1/4 simulate {arguments.hours} hours of a cluster"):
            command = supervisor.podpower_command("simulate", "--out", recording, "--hours", str(arguments.hours))
            children.run("simulate", command)
        with _step("2/4 materialize every asset through Dagster, train, promote"):
            children.run("dagster", [sys.executable, "-m", "podpower_assets.materialize"])
        with _step("3/4 serve the promoted model"):
            number = ports.free_port()
            url = f"http://127.0.0.1:{number}"
            children.start("api", supervisor.podpower_command("serve", "--port", str(number)))
            ready = f"{url}/readyz"
            children.wait_until(lambda: ports.answers(ready), what="the API", timeout_seconds=_START_SECONDS)
        with _step(f"4/4 predict {_EXAMPLE} over HTTP"):
            manifest = _EXAMPLE.read_bytes() if _EXAMPLE.exists() else _MANIFEST.encode()
            answer = _predictions(url, manifest)
    print()
    show_predictions(answer)
    print(f"\ndone in {time.monotonic() - started_s:.0f} s; every process is stopped again")
    print(f"data, models and logs  {arguments.home}")
    print(f"its models             PODPOWER_HOME={arguments.home} podpower models list")
    print("a cluster in real time make up    (Dagster UI on :3000, API and Swagger UI on :8000)")
    return 0


_PLACES = (HOME, RECORDING, PROMETHEUS_URL, MODEL_STORE, DAGSTER_HOME, ENCODER_PATH, MODEL_PATH)


def _empty(home: str) -> None:
    """Empty the home; InvalidInput when it contains files of anything but a demo."""
    from podpower.io.files import write_atomically  # noqa: PLC0415
    from podpower.io.places import place, reaching  # noqa: PLC0415

    root = place(home)
    with reaching(root):
        if root.exists() and any(root.iterdir()):
            if not (root / _MARK).exists():
                raise InvalidInput(f"{root} contains files that are not the demo's: name another folder with --home")
            root.fs.rm(root.path, recursive=True)
    write_atomically(root / _MARK, b"")


@contextmanager
def _step(description: str) -> Iterator[None]:
    """Print the step and its duration."""
    started_s = time.monotonic()
    output.note(f"{description} ...")
    yield
    output.note(f"    {time.monotonic() - started_s:.1f} s")


def _predictions(url: str, manifest: bytes) -> dict[str, Any]:
    import httpx  # noqa: PLC0415  # an extra

    answer = httpx.post(
        f"{url}/predict/batch", content=manifest, headers={"Content-Type": "application/yaml"}, timeout=30.0
    )
    body: dict[str, Any] = answer.json()
    if answer.is_error:
        raise PodpowerError(f"the API refused the example: {body.get('detail', answer.text)}")
    return body
