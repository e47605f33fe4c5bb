"""Take the pictures of docs/images: a small simulated platform in a temporary folder, and a real Chromium.

The recording ends three hours ago, so that the labels are stale and their freshness check has failed.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from podpower.cli.homes import home_at, home_environment  # noqa: E402
from podpower.hours import HOUR_S, start_of_hour  # noqa: E402
from podpower.settings import RECORDING  # noqa: E402
from podpower.simulation import simulate  # noqa: E402
from tests.live.lineage import CHROMIUM_FLAGS  # noqa: E402

IMAGES: Final = ROOT / "docs" / "images"
MAX_BYTES: Final = 300_000
_HOURS, _STALE_HOURS, _WORKLOADS = 5, 3, 20
_START_SECONDS, _SETTLE_MS, _TIMEOUT_MS = 120.0, 2500, 60_000
_STALE = """
import time
import dagster as dg
from podpower import settings
from podpower_assets.clusters import FIRST
from podpower_assets.freshness import evaluate
from podpower_assets.resources import resources_from
with dg.DagsterInstance.get() as instance:
    for one in evaluate([FIRST], **resources_from(settings.read()), now_s=time.time()):
        instance.report_runless_asset_event(one.evaluation())
"""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A page of the UI: its path, a text that it shows when it is loaded, and its size in pixels."""

    name: str
    path: str
    shows: str
    width: int = 1500
    height: int = 900
    prepare: Callable[[Page], None] = lambda _page: None
    of_service: bool = False  # a page of the prediction service, not of Dagster


def drawn(page: Page) -> None:
    """Wait until the graph is drawn; its layout is animated."""
    page.wait_for_selector("foreignObject:not(.group)")
    page.wait_for_timeout(_SETTLE_MS)


def predicted(page: Page) -> None:
    """Predict the example of the page."""
    page.get_by_role("button", name="Example").click()
    page.get_by_role("heading", name="Each workload").wait_for()
    page.get_by_text("Neighbours").first.click()


FRESHNESS: Final = Picture(
    name="freshness", path="/assets/kepler_labels?view=checks&checkDetail=labels_are_fresh", shows="the limit is"
)
PICTURES: Final = (
    Picture(name="lineage", path="/asset-groups", shows="prediction_service", width=2300, height=1000, prepare=drawn),
    Picture(name="asset", path="/assets/knn_model", shows="unseen_workloads_wape", height=918),
    Picture(
        name="check",
        path="/assets/kepler_labels?view=checks&checkDetail=most_steps_are_known",
        shows="null_reasons",
        height=745,
    ),
    FRESHNESS,
    Picture(
        name="page", path="/", shows="What will it draw?", width=1280, height=860, prepare=predicted, of_service=True
    ),
    Picture(name="fleet", path="/fleet", shows="Namespaces", width=1280, height=860, of_service=True),
)


def main() -> int:
    """Take all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(picture.name for picture in PICTURES))
    parser.add_argument(
        "--home", help="folder of the platform, kept; made where it is empty (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures (default docs/images)")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("error: no chromium on the PATH: install Chromium or Google Chrome", file=sys.stderr)
        return 1
    wanted = [picture for picture in PICTURES if not arguments.names or picture.name in arguments.names]
    with tempfile.TemporaryDirectory(prefix="podpower-") as temporary:
        environment = made_platform(Path(arguments.home or temporary))
        code = 0
        pages = [picture for picture in wanted if picture.of_service]
        wanted = [picture for picture in wanted if not picture.of_service]
        if pages:
            with serving(_service, environment, ready="/readyz") as url:
                code |= take(pages, url=url, chromium=chromium, out=arguments.out)
        if not wanted:
            return code
        with serving(_dagster, environment, ready="/server_info") as url:
            # The others are of a platform that follows its cluster.
            late = [picture for picture in wanted if picture is FRESHNESS]
            code |= take([one for one in wanted if one not in late], url=url, chromium=chromium, out=arguments.out)
            if late:
                run(environment, "-c", _STALE)
                code |= take(late, url=url, chromium=chromium, out=arguments.out)
            return code


def made_platform(folder: Path) -> dict[str, str]:
    """Simulate a recording, materialize all of it; return the environment of the platform."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PODPOWER_", "DAGSTER_"))}
    environment = home_environment(home_at(str(folder)), clean)
    recording = Path(environment[RECORDING])
    if not recording.exists():
        start_s = start_of_hour(time.time()) - (_HOURS + _STALE_HOURS - 1) * HOUR_S
        simulate(recording, seed=5, start_s=start_s, hours=_HOURS, workloads=_WORKLOADS)
        run(environment | {"PODPOWER_STALE_LABELS_HOURS": "24"}, "-m", "podpower_assets.materialize")
    return environment


def run(environment: dict[str, str], *arguments: str) -> None:
    """Run Python; its output is printed where it fails."""
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"error: {' '.join(arguments)[:80]} failed:\n{done.stderr[-4000:]}")


def _dagster(port: int) -> list[str]:
    return ["-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml"]


def _service(port: int) -> list[str]:
    return ["-m", "podpower", "serve", "--host", "127.0.0.1", "--port", str(port)]


@contextmanager
def serving(arguments: Callable[[int], list[str]], environment: dict[str, str], *, ready: str) -> Iterator[str]:
    """Run a server, the Dagster UI or the prediction service; yield its address once its path `ready` answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, *arguments(port)]
    url = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603  # our own command
            command, cwd=ROOT, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not answers(f"{url}{ready}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"error: the server did not start:\n{log.read()[-4000:].decode()}")
                time.sleep(0.5)
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Return True if the address answers."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # an address of this machine
            return True
    except OSError:
        return False


def take(wanted: list[Picture], *, url: str, chromium: str, out: Path) -> int:
    """Open each page and keep its picture; 1 where one is too large."""
    out.mkdir(parents=True, exist_ok=True)
    too_large = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        for picture in wanted:
            page = browser.new_page(viewport={"width": picture.width, "height": picture.height})
            page.set_default_timeout(_TIMEOUT_MS)
            page.add_init_script("localStorage.setItem('communityNux', '1')")
            page.goto(f"{url}{picture.path}")
            page.get_by_text(picture.shows).first.wait_for()
            picture.prepare(page)
            page.wait_for_timeout(_SETTLE_MS)
            path = out / f"{picture.name}.png"
            page.screenshot(path=path)
            page.close()
            size = path.stat().st_size
            too_large += size > MAX_BYTES
            print(f"{picture.name}.png  {size / 1000:.0f} kB{', too large' if size > MAX_BYTES else ''}")
        browser.close()
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
