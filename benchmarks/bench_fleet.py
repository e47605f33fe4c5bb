"""Time and memory of the fleet summary: `bench_fleet.py [--pods N]`.

One hour of labels and specs is summed up, and 30 days of such hours are folded and published. Each step runs in a
process of its own; memory is the peak of that process, which has loaded polars, numpy and the model.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from podpower.features.encoder import Encoder
from podpower.fleet.folding import fold
from podpower.fleet.hours import ClusterHour, hour_table
from podpower.fleet.summary import DAYS, write_summary
from podpower.hours import HOUR_S
from podpower.io.parquet import TableFile, write_parquet
from podpower.labels.table import WINDOWS_SCHEMA
from podpower.model.cold_start import cold_start_model
from podpower.model.predictor import Predictor
from podpower.specs.hashing import spec_hash
from podpower.specs.observing import Observation, ObservedPod
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.table import specs_table

START_S = 1_790_000_000.0 // HOUR_S * HOUR_S
PODS_A_WORKLOAD, NAMESPACES, MIB = 5, 200, 1 << 20
IMAGES = ("nginx", "redis", "postgres", "shop/cart", "shop/search", "acme/worker", "grafana/grafana", "apache/kafka")


def requests(count: int) -> list[InferenceRequest]:
    return [
        InferenceRequest(
            cluster="bench", namespace=f"team-{i % NAMESPACES}", workload_kind="Deployment", workload_name=f"app-{i}",
            containers=[Container(name="c", image=f"{IMAGES[i % len(IMAGES)]}:1", req_cpu_mcpu=50.0 * (1 + i % 40))],
        )
        for i in range(count)
    ]  # fmt: skip


def write_hour(folder: Path, pods: int) -> None:
    """An hour of labels at a step of a minute, and the specs of their pods."""
    specs = requests(pods // PODS_A_WORKLOAD)
    observations = [
        Observation(
            request=request, spec_hash=spec_hash(request), observed_from_s=START_S - 60,
            pods=[ObservedPod(pod=f"{request.workload_name}-{p}", uid=f"{i}-{p}", from_s=START_S - 60)
                  for p in range(PODS_A_WORKLOAD)],
        )
        for i, request in enumerate(specs)
    ]  # fmt: skip
    write_parquet(specs_table(observations), folder / "specs.parquet")
    names = pl.DataFrame(
        {
            "namespace": [r.namespace for r in specs for _ in range(PODS_A_WORKLOAD)],
            "workload_kind": "Deployment",
            "workload_name": [r.workload_name for r in specs for _ in range(PODS_A_WORKLOAD)],
            "pod": [f"{r.workload_name}-{p}" for r in specs for p in range(PODS_A_WORKLOAD)],
        }
    )
    watts = np.exp(np.random.default_rng(0).normal(size=len(names)))
    missing = [name for name in WINDOWS_SCHEMA.names() if name not in {*names.columns, "ts", "avg_power_w"}]
    parts = (
        names.with_columns(
            pl.lit(START_S + 60.0 * (minute + 1)).alias("ts"), pl.Series("avg_power_w", watts),
            *(pl.lit(60.0 if name in {"known_s", "step_seconds"} else None).alias(name) for name in missing),
        ).select(WINDOWS_SCHEMA.names()).cast(dict(WINDOWS_SCHEMA.items()))
        for minute in range(60)
    )  # fmt: skip
    write_parquet(parts, folder / "labels.parquet")


def sum_up(folder: Path) -> None:
    """Build one hour and write it."""
    encoder = Encoder.fit(requests(2_000))
    predictor = Predictor(encoder, cold_start_model(encoder), version="bench")
    files = [TableFile(path=folder / f"{name}.parquet", command="") for name in ("specs", "labels")]
    one = ClusterHour(cluster="bench", specs=files[0].read(), labels=files[1].scan())
    write_parquet(hour_table([one], predictor, start_s=START_S, now_s=START_S + HOUR_S), folder / "hour.parquet")


def publish(folder: Path) -> None:
    """Fold 30 days of the hour, each read from its file."""
    file = TableFile(path=folder / "hour.parquet", command="")
    hours = (file.read().with_columns(hour_s=START_S + hour * HOUR_S) for hour in range(24 * DAYS))
    found = fold(hours, now_s=time.time())
    assert found is not None
    write_summary(folder, found)


STEPS = {"sum_up": sum_up, "publish": publish}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=50_000)
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.step:
        began_s = time.monotonic()
        STEPS[arguments.step](arguments.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": time.monotonic() - began_s, "peak_mib": peak / MIB}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_hour(folder, arguments.pods)
        print(f"{arguments.pods} pods, {arguments.pods // PODS_A_WORKLOAD} workloads")
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--folder", name]
            figures = json.loads(subprocess.check_output(command, text=True))
            print(f"  {step:8} {figures['seconds']:6.1f} s  peak {figures['peak_mib']:6.0f} MiB")
        for file in ("labels.parquet", "hour.parquet", "fleet.json"):
            print(f"  {file:15} {(folder / file).stat().st_size / MIB:8.2f} MiB")


if __name__ == "__main__":
    main()
