"""The figures of docs/explanation/evaluation.md, each by one command:

  python benchmarks/quality/figures.py recorded SPECS.ndjson LABELS.parquet
  python benchmarks/quality/figures.py simulated [--hours 24] [--workloads 40] [--seed 1]
  python benchmarks/quality/figures.py simulated --seed 1 --seed 7       (two clusters: also from one to the other)

Runs the commands of the README, from files to `podpower evaluate`, in a folder that is removed at the end. Simulated
clusters begin at a fixed time, so that they are the same whenever this runs.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import polars as pl

from podpower.cli import main as podpower
from podpower.cli.output import note
from podpower.simulation import simulate

START_S = 1767225600.0  # 2026-01-01T00:00:00Z


def run(*arguments: object, out: Path | None = None) -> None:
    """A podpower command that must succeed; what it prints goes to `out`, or with what it says to stderr."""
    note(f"podpower {' '.join(map(str, arguments))}" + (f" > {out}" if out else ""))
    with out.open("w") if out else contextlib.nullcontext(sys.stderr) as printed, contextlib.redirect_stdout(printed):
        code = podpower([str(argument) for argument in arguments])
    if code:
        sys.exit(code)


def simulated(folder: Path, *, hours: int, workloads: int, seed: int) -> tuple[Path, Path]:
    """Specs and labels of one cluster."""
    place = folder / f"seed-{seed}"
    place.mkdir()
    note(f"simulating {hours} hours of {workloads} workloads, seed {seed}")
    simulate(place / "recording", seed=seed, start_s=START_S, hours=hours, workloads=workloads)
    run("collect", "from-file", place / "recording", out=place / "specs.ndjson")
    run("label", "--recording", place / "recording", "--out", place / "labels.parquet")
    return place / "specs.ndjson", place / "labels.parquet"


def evaluate(clusters: list[tuple[Path, Path]], folder: Path, options: list[str]) -> int:
    """One encoder for all; rows of several clusters are told apart by a number."""
    (folder / "all.ndjson").write_bytes(b"".join(specs.read_bytes() for specs, _ in clusters))
    run("encode", "fit", "--input", folder / "all.ndjson", "--out", folder / "encoder.joblib")
    tables = []
    for number, (specs, labels) in enumerate(clusters):
        features, rows = folder / f"features-{number}.parquet", folder / f"rows-{number}.parquet"
        encoder = ("--encoder", folder / "encoder.joblib")
        run("encode", "transform", "--input", specs, *encoder, "--out", features)
        run("join", "--features", features, "--labels", labels, "--out", rows)
        tables.append(pl.read_parquet(rows))
    if len(tables) > 1:
        tables = [table.with_columns(cluster=pl.lit(f"cluster {number}")) for number, table in enumerate(tables)]
    pl.concat(tables, how="diagonal_relaxed").write_parquet(folder / "rows.parquet")
    return podpower(["evaluate", "--train", str(folder / "rows.parquet"), *options])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    recorded = kinds.add_parser("recorded")
    recorded.add_argument("specs", type=Path)
    recorded.add_argument("labels", type=Path)
    simulation = kinds.add_parser("simulated")
    simulation.add_argument("--hours", type=int, default=24)
    simulation.add_argument("--workloads", type=int, default=40)
    simulation.add_argument("--seed", type=int, action="append")
    for kind in (recorded, simulation):
        kind.add_argument("--ablation", action="append_const", const="--ablation", dest="options", default=[])
        kind.add_argument("--json", action="append_const", const="--json", dest="options")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.kind == "recorded":
            clusters = [(chosen.specs, chosen.labels)]
        else:
            sizes = {"hours": chosen.hours, "workloads": chosen.workloads}
            clusters = [simulated(folder, seed=seed, **sizes) for seed in chosen.seed or [1]]
        return evaluate(clusters, folder, chosen.options)


if __name__ == "__main__":
    sys.exit(main())
