"""A backfill of a month, hour by hour, that is killed twice: `bench_backfill.py [--pods N] [--days N]`.

A made cluster of 1,000 pods is in a real Prometheus and a journal; Dagster's history is on a real PostgreSQL. Code
server and daemon run as `podpower up` starts them, on the real definitions without their sensors and schedules. A
backfill of all hourly assets is launched; at random moments one of its runs is killed (SIGKILL), and later every
process of Dagster, which are then started again. At the end each partition must be recorded and stored, and equal to
what an undisturbed run in this process makes: all hours of the runs that were killed, and a sample of the others
(`--compare 1`: all).

Exits with 1 where a partition is missing or differs, or the time is above its goal. On a machine that others use, the
CPU seconds on two cores count in place of the time. Needs prometheus, promtool and postgres; `--folder` keeps the made
cluster for the next time.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

sys.path.insert(0, str(Path(__file__).parents[1]))  # the real Prometheus and PostgreSQL of the tests
from scale.made_cluster import MadeCluster, made
from scale.processes import Dagster, Usage
from scale.verdict import Row, show

from podpower import settings
from podpower.cli.homes import home_at, home_environment
from podpower.hours import HOUR_S, start_of_hour
from podpower_assets.definitions import definitions
from podpower_assets.partitions import consecutive, hour_key, hours_between, range_tags
from podpower_assets.resources import Tables
from tests.clusters.prometheus import serving
from tests.postgres import serving_postgres

ASSETS = ("workload_specs", "features", "kepler_labels", "job_labels", "training_rows", "fleet_summary")
GOAL_MINUTES, GOAL_CORES = 30.0, 2
RUN_KILLED, ALL_KILLED = (0.2, 0.4), (0.5, 0.8)  # share of the partitions made when it happens
SAMPLE_S = 2.0
DONE = {BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.FAILED}
DEFINITIONS = Path(__file__).parent / "scale" / "backfill_definitions.py"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Outcome:
    """What was measured of the backfill."""

    seconds: float = 0.0
    dagster: Usage = field(default_factory=Usage)
    server_cpu_s: float = 0.0
    status: str = ""
    kills: list[str] = field(default_factory=list)
    runs: int = 0
    failed_runs: int = 0
    suspects: set[str] = field(default_factory=set)  # hours of runs that did not succeed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--kills", type=int, choices=(0, 1, 2), default=2)
    parser.add_argument("--compare", type=float, default=0.05, help="share of the other hours (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="of the made cluster, kept")
    arguments = parser.parse_args()
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        print(f"skipped: no {', '.join(missing)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="backfill-") as temporary:
        home, folder = Path(temporary), arguments.folder or Path(temporary) / "made"
        start_s = start_of_hour(time.time()) - (arguments.days * 24 + 1) * HOUR_S
        wanted = MadeCluster(pods=arguments.pods, hours=arguments.days * 24, start_s=start_s)
        cluster = made(folder, wanted, note=note)
        with serving(folder / "tsdb") as prometheus_url, serving_postgres() as postgres_url:
            environment = environment_of(home, folder, cluster, prometheus_url, postgres_url)
            os.environ.update(environment)
            outcome = backfilled(home, cluster, environment, arguments.kills, random.Random(arguments.seed))
            hours = compared_hours(cluster, outcome, arguments.compare, random.Random(arguments.seed))
            missing_keys = missing_partitions(environment, cluster)
            note(f"making {len(hours)} hours again, undisturbed")
            different = differences(home, hours)
    return report(cluster, outcome, missing_keys, hours, different)


def environment_of(
    home: Path, folder: Path, cluster: MadeCluster, prometheus_url: str, postgres_url: str
) -> dict[str, str]:
    """Return the environment of the platform in `home`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PODPOWER_", "DAGSTER_"))}
    given = {
        settings.PROMETHEUS_URL: prometheus_url,
        settings.POSTGRES_URL: postgres_url,
        settings.RECORDING: str(folder / "journal"),
        "PODPOWER_PARTITIONS_START": hour_key(cluster.start_s),
    }
    return home_environment(home_at(str(home)), clean | given)


def backfilled(
    home: Path, cluster: MadeCluster, environment: dict[str, str], kills: int, chance: random.Random
) -> Outcome:
    """Run the backfill to its end, with its kills."""
    outcome = Outcome()
    hours = hours_between(cluster.start_s, cluster.end_s)
    platform = Dagster(folder=home, environment=environment, definitions=DEFINITIONS)
    due = [(chance.uniform(*RUN_KILLED), "one run"), (chance.uniform(*ALL_KILLED), "every process")][:kills]
    servers = [p.pid for p in psutil.process_iter(["name", "ppid"]) if p.info["name"] in {"prometheus", "postgres"}]
    own, began_s = Usage(), time.monotonic()
    own.sample(servers)
    before_s = own.cpu_s
    with dg.DagsterInstance.from_config(environment[settings.DAGSTER_HOME]) as instance:
        fit_encoder(instance, hours[0])
        graph = definitions(settings.read()).resolve_asset_graph()
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id="bench", asset_graph=graph, partition_names=hours,
            asset_selection=[dg.AssetKey(name) for name in ASSETS], backfill_timestamp=time.time(), tags={},
            dynamic_partitions_store=instance, all_partitions=False, title=None, description=None, run_config=None,
        )  # fmt: skip
        instance.add_backfill(backfill)
        platform.start()
        try:
            last_s = 0.0
            while True:
                time.sleep(SAMPLE_S)
                platform.usage.sample(platform.pids())
                own.sample(servers)
                done = len(list((home / "tables" / ASSETS[-1]).glob("*.parquet"))) / len(hours)
                if due and done >= due[0][0] and (due[0][1] != "one run" or platform.kill_run()):
                    _share, what = due.pop(0)
                    if what == "every process":
                        platform.kill()
                        platform.start()
                    outcome.kills.append(f"{what} at {done:.0%}")
                    note(f"killed {outcome.kills[-1]}")
                status = instance.get_backfill("bench").status  # type: ignore[union-attr]
                if time.monotonic() - last_s > 30:
                    last_s = time.monotonic()
                    note(f"{last_s - began_s:.0f} s: {done:.1%} of the hours, {platform.usage.cpu_s:.0f} s of CPU")
                if status in DONE:
                    break
        finally:
            platform.stop()
        outcome.seconds, outcome.status = time.monotonic() - began_s, status.value
        outcome.dagster = platform.usage
        own.sample(servers)
        outcome.server_cpu_s = own.cpu_s - before_s
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": "bench"}))
        outcome.runs = len(runs)
        for run in runs:
            if run.status != dg.DagsterRunStatus.SUCCESS:
                outcome.failed_runs += 1
                first, last = (run.tags[tag] for tag in range_tags("", ""))
                outcome.suspects |= {hour for hour in hours if first <= hour <= last}
    return outcome


def fit_encoder(instance: dg.DagsterInstance, hour: str) -> None:
    """Make the encoder on the specs of the first hour, as the platform's first run does."""
    job = definitions(settings.read()).resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey("workload_specs"), dg.AssetKey("encoder")],
        tags=range_tags(hour, hour),
        run_config=QUIET,
    )
    assert done.success


def compared_hours(cluster: MadeCluster, outcome: Outcome, share: float, chance: random.Random) -> list[str]:
    """Return the hours of killed runs, and a sample of the others."""
    hours = hours_between(cluster.start_s, cluster.end_s)
    others = [hour for hour in hours if hour not in outcome.suspects]
    sample = chance.sample(others, min(len(others), round(share * len(others))))
    return sorted({*outcome.suspects, *sample})


def missing_partitions(environment: dict[str, str], cluster: MadeCluster) -> list[str]:
    """Return the partitions without a materialization, a table or a verdict that is no error."""
    hours = hours_between(cluster.start_s, cluster.end_s)
    tables, found = Tables(root=settings.read().places.tables), []
    with dg.DagsterInstance.from_config(environment[settings.DAGSTER_HOME]) as instance:
        for asset in ASSETS:
            recorded = instance.get_materialized_partitions(dg.AssetKey(asset))
            for hour in hours:
                verdict = tables.verdict(asset, hour)
                if hour not in recorded or verdict is None or verdict.error or not tables.read(asset, hour) is not None:
                    found.append(f"{asset} {hour}")
    return found


def differences(home: Path, hours: list[str]) -> list[str]:
    """Make the hours again in another place, and return the partitions that differ."""
    killed = Tables(root=settings.read().places.tables)
    own = Path(home) / "undisturbed"
    shutil.copytree(Path(killed.root) / "encoder", own / "tables" / "encoder")
    found = []
    with undisturbed(own), dg.DagsterInstance.ephemeral() as instance:
        job = definitions(settings.read()).resolve_implicit_global_asset_job_def()
        tables = Tables(root=settings.read().places.tables)
        for group in consecutive(hours):
            job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(name) for name in ASSETS],
                tags=range_tags(group[0], group[-1]),
                run_config=QUIET,
            )
        for hour in hours:
            pairs = ((asset, killed.read(asset, hour), tables.read(asset, hour)) for asset in ASSETS)
            found += [f"{asset} {hour}" for asset, first, second in pairs if not equal(first, second)]
    return found


def equal(first: pl.DataFrame | None, second: pl.DataFrame | None) -> bool:
    """Return whether two tables have the same rows in the same order."""
    return first is not None and second is not None and first.equals(second)


@contextmanager
def undisturbed(home: Path) -> Iterator[None]:
    """Place the home elsewhere meanwhile."""
    before = dict(os.environ)
    os.environ.update({settings.HOME: str(home), settings.MODEL_STORE: str(home / "models")})
    os.environ.pop(settings.TABLES, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def report(cluster: MadeCluster, outcome: Outcome, missing: list[str], hours: list[str], different: list[str]) -> int:
    """Print each figure beside its goal; return 1 where one is missed."""
    total_cpu_s = outcome.dagster.cpu_s + outcome.server_cpu_s
    on_two_cores = total_cpu_s / GOAL_CORES / 60
    minutes = outcome.seconds / 60
    print(f"{cluster.pods} pods, {cluster.hours} hours x {len(ASSETS)} assets; killed: {'; '.join(outcome.kills)}")
    print(
        f"CPU seconds: Dagster and its runs {outcome.dagster.cpu_s:.0f}, Prometheus and PostgreSQL "
        f"{outcome.server_cpu_s:.0f}; largest process {outcome.dagster.peak_mib:.0f} MiB; "
        f"{outcome.runs} runs, {outcome.failed_runs} of them killed or failed"
    )
    for name in [*missing, *different][:10]:
        print(f"  missing or different: {name}")
    return show(
        [
            Row("time", f"{minutes:.1f} min", f"{GOAL_MINUTES:g} min", minutes <= GOAL_MINUTES),
            Row(
                "CPU time of all, on two cores",
                f"{on_two_cores:.1f} min",
                f"{GOAL_MINUTES:g} min",
                on_two_cores <= GOAL_MINUTES,
            ),
            Row("state of the backfill", outcome.status, "COMPLETED_SUCCESS", outcome.status == "COMPLETED_SUCCESS"),
            Row("partitions missing", f"{len(missing)} of {cluster.hours * len(ASSETS)}", "0", not missing),
            Row("hours that differ", f"{len(different)} of {len(hours)} compared", "0", not different),
        ]
    )


def note(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
