"""How soon pages of the Dagster UI open with a year of partitions: `bench_ui.py [--clusters N] [--storage sqlite]`.

Every hourly asset of every cluster has a materialization, and every check a result, for each of 8,760 hours: the events
of a real run, copied in the database (benchmarks/scale/year.py). The real dagster-webserver with the real definitions
shows them to a real Chromium. A first webserver shows the lineage until nothing is requested any more, and computes
the states of checks; it is started again for the pages. Each page is opened five times, in new tabs of a browser with a
profile, as a person's has: it keeps the UI's program as it compiled it. The figure is the slower of the last two, until
what the page is about is there to be read. Beside it are the slowest of the page's own GraphQL queries and the seconds
of CPU of server and browser until then, which hold on a machine that others use too. The sensors that read the whole
history are evaluated as well: their first tick, and one where nothing changed.

Exits with 1 where a page or such a tick is above 2 s. Needs chromium; PostgreSQL for `--storage postgres` (default:
both).
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import yaml
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, Request, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))  # the real PostgreSQL of the tests
from scale.verdict import Row, show
from scale.year import copy_partition, of_cluster, recorded_events, report

from podpower import settings
from podpower.cli.homes import home_at, home_environment
from podpower.cli.ports import answers, free_port
from podpower.clusters import configured_clusters
from podpower.hours import HOUR_S, start_of_hour
from podpower.simulation import simulate
from podpower_assets.clusters import Cluster
from podpower_assets.definitions import assets, definitions
from podpower_assets.materialize import materialize_recording
from podpower_assets.partitions import hour_key
from tests.live.lineage import CHROMIUM_FLAGS
from tests.postgres import serving_postgres

GOAL_S, HOURS = 2.0, 8760
ROOT = Path(__file__).parents[1]
SENSORS = ("alerts", "fleet_changes")
LATEST, TICKS, LOADS, READ_MS, LONGEST_MS = 3, 3, 5, 1_000, 60_000


@dataclass(frozen=True)
class Opened:
    """A page of the UI: its path, and a selector or text that is there once it shows what it is about."""

    name: str
    path: str
    shows: str


def pages(further: str) -> list[Opened]:
    """Return the pages; `further` is the name of a further cluster, "" without one."""
    found = [
        Opened(
            "lineage", "/asset-groups", "foreignObject" if further else "foreignObject:not(.group)"
        ),  # folded groups
        Opened("catalog", "/assets", "text=kepler_labels"),
        Opened("asset", "/assets/kepler_labels", "text=Latest materialization"),
        Opened("partitions", "/assets/kepler_labels?view=partitions", "text=/Materialized|materialized/"),
        Opened("checks", "/assets/kepler_labels?view=checks", "text=most_steps_are_known"),
        Opened("events", "/assets/kepler_labels?view=events", "text=/Materiali[sz]/"),
        Opened("fleet", "/assets/fleet_summary", "text=Latest materialization"),
        Opened("runs", "/runs", "text=Launched by"),
        Opened("backfills", "/backfills", "text=/ackfill/"),
        Opened("automation", "/automation", "text=follow_changes"),
    ]
    if further:
        found.append(Opened(f"asset of {further}", f"/assets/{further}/kepler_labels", "text=Latest materialization"))
    return found


def main() -> int:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, nargs="*", default=[1, 10])
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--storage", choices=("sqlite", "postgres"), nargs="*", default=["sqlite", "postgres"])
    parser.add_argument("--pages", nargs="*", metavar="PAGE", help="only these pages, by the names that are printed")
    parser.add_argument("--keep", type=Path, help="folder for pictures of the pages")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("skipped: no chromium")
        return 0
    missed = 0
    for storage in arguments.storage:
        for clusters in arguments.clusters:
            missed |= measured(storage, clusters, arguments, chromium)
    return missed


def measured(storage: str, clusters: int, arguments: argparse.Namespace, chromium: str) -> int:
    """Fill an instance, open the pages, print them beside the goal."""
    hours: int = arguments.hours
    with tempfile.TemporaryDirectory(prefix="ui-") as temporary, ExitStack() as stack:
        home = Path(temporary)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PODPOWER_", "DAGSTER_"))}
        if storage == "postgres":
            clean[settings.POSTGRES_URL] = stack.enter_context(serving_postgres())
        now_s = start_of_hour(time.time())
        clean["PODPOWER_PARTITIONS_START"] = hour_key(now_s - hours * HOUR_S)
        environment = home_environment(home_at(str(home)), clean)
        made(environment)
        if clusters > 1:
            entries = [
                {"name": f"eu-{n}", "recording": environment[settings.RECORDING]} for n in range(1, clusters + 1)
            ]
            (home / "clusters.yaml").write_text(yaml.safe_dump({"clusters": entries}))
            environment[settings.CLUSTERS] = str(home / "clusters.yaml")
        began_s = time.monotonic()
        rows = filled(environment, hours, now_s)
        print(
            f"{storage}, {clusters} cluster{'s' if clusters > 1 else ''}: {hours} hours, {rows:,} rows copied in "
            f"{time.monotonic() - began_s:.0f} s"
        )
        ticked = list(ticks(environment))
        further = f"eu-{clusters // 2}" if clusters > 1 else ""
        for which in ("first", "second"):
            with webserver(environment) as (url, process):
                settle(url, process, chromium, which)
        with webserver(environment) as (url, process):
            wanted = [one for one in pages(further) if not arguments.pages or one.name in arguments.pages]
            return show([*opened(url, process, chromium, wanted, arguments.keep), *ticked])


def made(environment: dict[str, str]) -> None:
    """Make some hours of a small simulated cluster, in this process."""
    recording = Path(environment[settings.RECORDING])
    simulate(recording, seed=1, start_s=start_of_hour(time.time()) - LATEST * HOUR_S, hours=LATEST, workloads=20)
    os.environ.update(environment)
    with dg.DagsterInstance.from_config(environment[settings.DAGSTER_HOME]) as instance:
        materialize_recording(instance)


def filled(environment: dict[str, str], hours: int, now_s: float) -> int:
    """Give every hour the events of the newest one, of every cluster; return the number of rows."""
    os.environ.update(environment)
    given = settings.read()
    configured = [Cluster(one.prefix, has_meter=one.has_meter) for one in configured_clusters(given)]
    newest = hour_key(now_s - HOUR_S)
    with dg.DagsterInstance.from_config(environment[settings.DAGSTER_HOME]) as instance:
        hourly = [one for one in assets(given.assets) if one.partitions_def and "%H" in one.partitions_def.fmt]  # type: ignore[attr-defined]
        events = recorded_events(instance, hourly)
        of_clusters = [event for event in events if event.asset_key.path[-1] != "fleet_summary"]
        for cluster in configured[1:]:
            report(instance, list(of_cluster(of_clusters, cluster.name)), newest)
        keys = [hour_key(now_s - n * HOUR_S) for n in range(hours, LATEST, -1)]
        return copy_partition(instance, newest, keys, step_s=HOUR_S)


def ticks(environment: dict[str, str]) -> Iterator[Row]:
    """Evaluate sensors three times, and yield the time of the last tick of each."""
    os.environ.update(environment)
    repository = definitions(settings.read()).get_repository_def()
    with dg.DagsterInstance.from_config(environment[settings.DAGSTER_HOME]) as instance:
        for name in SENSORS:
            cursor, times = None, []
            for _ in range(TICKS):
                context = dg.build_sensor_context(instance, cursor, repository_def=repository, definitions=None)
                began_s = time.monotonic()
                cursor = repository.get_sensor_def(name).evaluate_tick(context).cursor
                times.append(time.monotonic() - began_s)
            note(f"tick of {name}: {', '.join(f'{one:.2f}' for one in times)} s")
            figure = f"{times[-1]:.2f} s (first {times[0]:.1f})"
            yield Row(f"tick of {name}", figure, f"{GOAL_S:g} s", times[-1] <= GOAL_S)


@contextmanager
def webserver(environment: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    """Run the UI; give its address and process once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml"]
    url = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + 300
            while not answers(f"{url}/server_info"):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"error: the Dagster UI did not start:\n{log.read()[-4000:].decode()}")
                time.sleep(0.5)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


def opened(url: str, process: psutil.Process, chromium: str, wanted: list[Opened], keep: Path | None) -> Iterator[Row]:
    """Open each page several times, and yield its figures."""
    with tempfile.TemporaryDirectory(prefix="ui-profile-") as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=list(CHROMIUM_FLAGS), viewport={"width": 1500, "height": 900}
        )
        context.add_init_script("localStorage.setItem('communityNux', '1')")
        for one in wanted:
            tries, queries = list[tuple[float, float, float]](), dict[str, float]()
            for _ in range(LOADS):
                page = context.new_page()
                page.on("requestfinished", lambda request, to=queries: note_query(request, to))
                tries.append(open_page(page, f"{url}{one.path}", one.shows, process))
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=keep / f"{one.name}.png")
                page.wait_for_timeout(READ_MS)  # meanwhile Chromium stores what it compiled
                page.close()
            open_s, server_s, browser_s = max(tries[-2:])
            slowest = max(queries, key=queries.__getitem__, default="")
            query = f"{slowest} {queries.get(slowest, 0):.2f} s" if slowest else "no query"
            note(f"{one.name}: {open_s:.2f} s, first {tries[0][0]:.1f} s; slowest query {query}")
            figure = f"{open_s:.2f} s (CPU: server {server_s:.2f}, browser {browser_s:.2f})"
            yield Row(one.name, figure, f"{GOAL_S:g} s", open_s <= GOAL_S)
        context.close()


def settle(url: str, process: psutil.Process, chromium: str, which: str) -> None:
    """Show the lineage in a new browser until the page has all that it requests, and note what that took."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        page, before, began_s = (
            browser.new_page(viewport={"width": 1500, "height": 900}),
            cpu_of(process),
            time.monotonic(),
        )
        page.goto(f"{url}/asset-groups", wait_until="commit")
        try:
            page.wait_for_load_state("networkidle", timeout=LONGEST_MS)
            took = f"{time.monotonic() - began_s:.1f} s"
        except PlaywrightError:
            took = f"more than {LONGEST_MS / 1000:.0f} s"
        note(f"lineage with all states, {which} webserver: {took}, {cpu_of(process) - before:.1f} s of its CPU")
        browser.close()


def open_page(page: Page, url: str, shows: str, server: psutil.Process) -> tuple[float, float, float]:
    """Open a page until it shows something; return the seconds, and those of CPU of the server and of the browser. A
    page that does not show it took infinitely long.
    """
    browsers = browsers_beside(server)
    before = cpu_of(server), sum(map(cpu_alone, browsers))
    began_s = time.monotonic()
    page.goto(url, wait_until="commit")
    try:
        page.wait_for_selector(shows, timeout=LONGEST_MS, state="attached")
        seconds = time.monotonic() - began_s
    except PlaywrightError as error:
        note(f"{url}: {str(error).splitlines()[0]}")
        seconds = math.inf
    browsers = browsers_beside(server)
    return seconds, cpu_of(server) - before[0], max(0.0, sum(map(cpu_alone, browsers)) - before[1])


def browsers_beside(server: psutil.Process) -> list[psutil.Process]:
    """Return the processes of the browser; one that ends meanwhile is none."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "chrom" in process.name() and process.pid != server.pid:
                found.append(process)
    return found


def note_query(request: Request, to: dict[str, float]) -> None:
    """Keep the longest time of each GraphQL query."""
    if "/graphql" in request.url:
        name = json.loads(request.post_data or "{}").get("operationName") or "?"
        to[name] = max(to.get(name, 0.0), request.timing["responseEnd"] / 1000)


def note(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def cpu_alone(process: psutil.Process) -> float:
    """CPU seconds of a process."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process and those below it."""
    return sum(map(cpu_alone, [process, *process.children(recursive=True)]))


if __name__ == "__main__":
    sys.exit(main())
