"""Memory and time of `podpower join` and `podpower train`: `bench_rows.py [--pods N] [millions of labels ...]`.

Labels of pods at a step of 60 s are written to a file, and each command runs on it in a process of its own. Memory is
the peak of the process, extrapolated to 72 million labels by a straight line through the sizes (one size: in
proportion).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from podpower.cli import main as podpower
from podpower.features.encoder import Encoder
from podpower.features.table import features_table
from podpower.io.parquet import write_parquet
from podpower.specs.hashing import spec_hash
from podpower.specs.requests import Container, InferenceRequest

GOAL_LABELS, GOAL_GIB = 72e6, 8.0
STEP_S = 60.0
IMAGES = ("nginx", "redis", "postgres", "shop/cart", "shop/search", "acme/worker", "grafana/grafana", "apache/kafka")


def requests(pods: int) -> list[InferenceRequest]:
    rng = np.random.default_rng(0)
    return [
        InferenceRequest(
            cluster="bench",
            namespace=f"team-{i % 50}",
            workload_kind="Deployment",
            workload_name=f"{IMAGES[i % len(IMAGES)].rpartition('/')[2]}-{i}",
            containers=[
                Container(name="c", image=f"{IMAGES[i % len(IMAGES)]}:1", req_cpu_mcpu=float(rng.integers(1, 40) * 50))
            ],
        )
        for i in range(pods)
    ]


def label_parts(specs: list[InferenceRequest], labels: int) -> Iterator[pl.DataFrame]:
    """All pods step by step, as an export in the order of time has them."""
    rng = np.random.default_rng(1)
    watts = np.exp(rng.normal(size=len(specs)))
    frame = pl.DataFrame(
        {
            "cluster": [s.cluster for s in specs],
            "namespace": [s.namespace for s in specs],
            "workload_kind": [s.workload_kind for s in specs],
            "workload_name": [s.workload_name for s in specs],
            "pod": [f"{s.workload_name}-0" for s in specs],
            "_spec_hash": [spec_hash(s) for s in specs],
            "step_seconds": STEP_S,
            "energy": "dynamic",
        }
    )
    steps = -(-labels // len(specs))
    for first in range(0, steps, 100):
        yield pl.concat(
            frame.with_columns(
                ts=pl.lit(STEP_S * (step + 1)),
                avg_power_w=pl.Series(power_w := watts * np.exp(rng.normal(size=len(specs)) * 0.05)),
                energy_step_j=pl.Series(power_w * STEP_S),
            )
            for step in range(first, min(first + 100, steps))
        )


def measure(arguments: list[str]) -> None:
    """One command, in this process."""
    started, cpu_s = time.perf_counter(), time.process_time()
    if podpower(arguments):
        sys.exit(1)
    status = Path("/proc/self/status").read_text().split()
    peak_gib = int(status[status.index("VmHWM:") + 1]) / (1 << 20)
    measured = {"peak_gib": peak_gib, "s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_s}
    Path(sys.argv[2]).write_text(json.dumps(measured))


def run(folder: Path, *arguments: object) -> dict[str, float]:
    out = folder / "measured.json"
    words = [sys.executable, __file__, "--measure", str(out), *map(str, arguments)]
    done = subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr[-2000:]}")
    return json.loads(out.read_text())


def sizes(millions: list[float], pods: int) -> Iterator[dict[str, float | str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        specs = requests(pods)
        encoder = Encoder.fit(specs)
        write_parquet(features_table(specs, encoder.transform(specs), encoder=encoder), folder / "features.parquet")
        for million in millions:
            labels, rows = folder / "labels.parquet", folder / "rows.parquet"
            count = write_parquet(label_parts(specs, int(million * 1e6)), labels)
            files = {"join": ("--features", folder / "features.parquet", "--labels", labels, "--out", rows)}
            files["train"] = ("--train", rows, "--out", folder / "knn_energy.joblib")
            for command, options in files.items():
                yield {"command": command, "labels": count, **run(folder, command, *options)}
            rows.unlink()


def extrapolated(found: list[dict[str, float]]) -> float:
    """GiB of GOAL_LABELS."""
    labels, peaks = [f["labels"] for f in found], [f["peak_gib"] for f in found]
    if len(found) == 1:
        return peaks[0] * GOAL_LABELS / labels[0]
    slope, base = np.polyfit(labels, peaks, 1)
    return float(base + slope * GOAL_LABELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("millions", type=float, nargs="*", default=[1.0, 3.0])
    chosen = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"join": [], "train": []}
    for one in sizes(chosen.millions, chosen.pods):
        print(
            f"{one['command']}: {one['labels'] / 1e6:.0f} million labels, peak {one['peak_gib']:.2f} GiB, "
            f"{one['s']:.0f} s, {one['cpu_s']:.0f} s of CPU",
            flush=True,
        )
        found[str(one["command"])].append(one)
    for command, measured in found.items():
        print(f"{command}: {extrapolated(measured):.1f} GiB at 72 million labels, extrapolated (goal: {GOAL_GIB:g})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[3:])
    else:
        main()
