"""Disk of the platform: `bench_platform.py [--workloads N] [--hours N]`.

A simulated cluster goes through every asset into tables, models, pages and Dagster's history, and its objects into the
lines of a journal. The bytes of each are extrapolated to a year of 1,000 pods at the defaults of the retention.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import dagster as dg
import polars as pl

from podpower import settings
from podpower.settings import AssetSettings, ClusterSettings
from podpower.simulation import simulate
from podpower.sources.journal.format import event_line
from podpower.sources.recording import Recording
from podpower.specs.essentials import essential
from podpower_assets.definitions import definitions
from podpower_assets.materialize import materialize_recording
from podpower_assets.partitions import day_key

PODS, GOAL_GB = 1_000, 10.0
RUNS_AN_HOUR = 30  # the most of a steady state
DAY_HOURS, HOUR_S, GB = 24, 3600.0, 1e9
ASSETS, CLUSTER = AssetSettings(), ClusterSettings()


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def make(home: Path, *, workloads: int, hours: int) -> tuple[Recording, int]:
    """Everything that the assets make of a simulation; the recording and the number of runs."""
    warnings.simplefilter("ignore")
    simulate(home / "recording", seed=1, start_s=1767258000.0, hours=hours, workloads=workloads)
    (home / "dagster").mkdir()
    places = {"PODPOWER_HOME": home, "PODPOWER_RECORDING": home / "recording", "DAGSTER_HOME": home / "dagster"}
    os.environ |= {name: str(path) for name, path in places.items()}
    recording = Recording(home / "recording")
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        materialize_recording(instance)
        day = day_key(recording.end_s - 1)
        job = definitions(settings.read()).resolve_implicit_global_asset_job_def()
        job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("model_evaluation")],
            partition_key=day,
            raise_on_error=False,
        )
        return recording, instance.get_runs_count()


def journal_bytes(recording: Recording) -> int:
    """Bytes of a snapshot and the events of each hour, as the collector writes them."""
    hours = range(int(recording.start_s), int(recording.end_s), int(HOUR_S))
    events = (e for hour_s in hours for e in recording.events(start_s=float(hour_s), end_s=hour_s + HOUR_S))
    return sum(len(event_line(event.ts, event.type, essential(event.object))) for event in events)


def disk(*, workloads: int, hours: int) -> float:
    """Print the bytes of each store and a year of 1,000 pods beside the goal; return the year in GB."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        recording, runs = make(home, workloads=workloads, hours=hours)
        labels = [
            pl.read_parquet(path, columns=["pod"]) for path in (home / "tables" / "kepler_labels").glob("*.parquet")
        ]
        pods = sum(table["pod"].n_unique() for table in labels) / len(labels)
        print(f"{workloads} workloads, {hours} hours, {pods:.0f} pods an hour, {runs} runs\n")
        print(f"{'store':<28}{'bytes a pod-hour':>18}{'days kept':>11}{'GB in a year':>14}")
        total_gb = 0.0

        def row(name: str, size: float, days: float, *, of: str = "") -> None:
            nonlocal total_gb
            each = of or f"{size / PODS / DAY_HOURS:,.0f}"
            total_gb += size * days / GB
            print(f"{name:<28}{each:>18}{days:>11g}{size * days / GB:>14.2f}")

        scale = PODS / pods / hours * DAY_HOURS  # to a day of 1,000 pods
        for asset in ("workload_specs", "features", "kepler_labels", "job_labels", "training_rows", "fleet_summary"):
            row(f"tables: {asset}", bytes_below(home / "tables" / asset) * scale, ASSETS.keep_tables_days)
        row("journal", journal_bytes(recording) * scale, CLUSTER.keep_journal_days)
        [version] = (home / "models" / "versions").iterdir()
        encoder, model = (version / name for name in ("encoder.joblib", "knn_energy.joblib"))
        size = encoder.stat().st_size + model.stat().st_size * PODS / pods
        row("models", size * ASSETS.keep_models, 1, of=f"{size / 1e6:.1f} MB each")
        pages = bytes_below(home / "tables" / "model_evaluation")
        row("pages of evaluations", pages, ASSETS.keep_reports_days, of=f"{pages / 1e6:.1f} MB each")
        a_run = bytes_below(home / "dagster") / runs
        row(
            "Dagster's history",
            a_run * RUNS_AN_HOUR * DAY_HOURS,
            ASSETS.keep_runs_days,
            of=f"{a_run / 1e3:.0f} kB a run",
        )
        print(f"\na year of {PODS:,} pods: {total_gb:.1f} GB (goal: {GOAL_GB:g} GB)")
        return total_gb


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=120)
    parser.add_argument("--hours", type=int, default=3)
    arguments = parser.parse_args()
    return 0 if disk(workloads=arguments.workloads, hours=arguments.hours) <= GOAL_GB else 1


if __name__ == "__main__":
    sys.exit(main())
