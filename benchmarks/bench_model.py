"""Time to train and to predict by the number of known specs: `python benchmarks/bench_model.py [specs ...]`.

Rows are written to a file and read from it. Each size runs twice, in processes of their own whose peak memory is
printed: training alone, with predictions that are timed one by one, with everything but the encoder (search, partial
pooling, interval); then `podpower train`, which also evaluates on workloads left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from podpower.datasets.entries import Entries
from podpower.datasets.tables import read_training_rows
from podpower.io.parquet import write_parquet
from podpower.model.knn import KnnModel
from podpower.model.search import Search
from podpower.registry.artifacts import model_bytes, model_from_bytes
from podpower.training.train import train

BLOCKS = (16, 20, 256)
DIM = sum(BLOCKS)
ROWS = 1_000_000  # at most so many: ten a spec, but one of the largest sizes
QUERIES = 2000
GOAL_S, GOAL_MIB = 20.0, 1024  # of the command on a million rows of 100,000 specs


def write_rows(specs: int, path: Path, seed: int = 0) -> None:
    """Families of software with variants whose power and vectors go together, ten hours of each, in parts.

    Resources differ from spec to spec as well, so that of some 250 of a variant it is a question which are the nearest.
    """
    rng = np.random.default_rng(seed)
    families, variants = max(16, specs // 2000), 8
    centers = _unit(rng.normal(size=(families, DIM)))
    shifts = _unit(rng.normal(size=(families * variants, DIM))) * 0.4
    power = np.exp(rng.normal(size=families) * 2)

    def parts():
        for start in range(0, specs, 20_000):
            count = min(20_000, specs - start)
            number = np.arange(start, start + count)
            family, variant = number % families, rng.integers(0, variants, size=count)
            noise = rng.normal(size=(count, DIM)).astype(np.float32) * np.float32(0.1 / np.sqrt(DIM))
            noise[:, : BLOCKS[0]] += rng.normal(size=(count, BLOCKS[0])) * 0.5 / np.sqrt(BLOCKS[0])
            vectors = (centers[family] + shifts[family * variants + variant]).astype(np.float32) + noise
            watts = power[family] * np.exp(rng.normal(size=count) * 0.4)
            frame = pl.DataFrame(
                {
                    "cluster": "bench",
                    "namespace": "bench",
                    "workload_kind": "Deployment",
                    "workload_name": [f"w{i // 2}" for i in number],
                    "pod": [f"p{i}" for i in number],
                    "_spec_hash": [f"{i:064x}" for i in number],
                    "encoder_fingerprint": "f" * 64,
                    "image_key": [f"acme/{i}" for i in family],
                    "physical_power_w": watts * np.exp(rng.normal(size=count)),
                    "vec_len": DIM,
                    "feature_blocks": pl.Series([list(BLOCKS)] * count),
                    "features": pl.Series(vectors, dtype=pl.Array(pl.Float32, DIM)).arr.to_list(),
                    "step_seconds": 60.0,
                }
            )
            for hour in range(max(1, min(10, ROWS // specs))):
                noisy = pl.Series(watts * 60 * np.exp(rng.normal(size=count) * 0.05))
                yield frame.with_columns(ts=pl.lit(60.0 + 3600 * hour), energy_step_j=noisy)

    write_parquet(parts(), path)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(path: Path) -> dict[str, float | int | str]:
    """One size, in this process."""
    started = time.perf_counter()
    rows = read_training_rows(path)
    model = train(rows)
    train_s = time.perf_counter() - started
    peak_mib = _peak_mib()
    data = model_bytes(model)
    started = time.perf_counter()
    model = model_from_bytes(data)
    load_s = time.perf_counter() - started
    rng = np.random.default_rng(1)
    known = rng.integers(0, len(model.index), size=QUERIES)
    vectors = np.asarray(model.index.vectors[known], dtype=np.float32)
    vectors += rng.normal(size=vectors.shape).astype(np.float32) * np.float32(0.1 / np.sqrt(DIM))
    times, lists = [], model.inverted_file
    for place, entry in enumerate(known.tolist()):
        asked = Entries(
            vectors=vectors[place : place + 1],
            spec_hashes=["?"],
            clusters=[""],
            namespaces=["x"],
            kinds=["Deployment"],
            names=["y"],
            controllers=["Deployment"],
            image_keys=[model.index.image_keys[entry]],
            physical_power_w=np.array([1.0]),
        )
        started = time.perf_counter()
        model.predict(asked)
        times.append(time.perf_counter() - started)
    return {
        "rows": model.training_size["rows"],
        "specs": len(model.index),
        "train_s": round(train_s, 1),
        "train_peak_mib": peak_mib,
        "artifact_mib": len(data) >> 20,
        "load_s": round(load_s, 1),
        "predict_p50_ms": round(float(np.percentile(times, 50)) * 1e3, 2),
        "predict_p99_ms": round(float(np.percentile(times, 99)) * 1e3, 2),
        "recall_at_10": round(recall(model, vectors[:200]), 4),
        "search": "exact" if lists is None else f"{lists.nprobe} of {len(lists.centroids)} lists",
    }


def measure_command(path: Path) -> dict[str, float | int | str]:
    """`podpower train` on it, in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", "podpower", "train", "--train", str(path)]
    out = path.with_name("knn_energy.joblib")
    with subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        errors = process.stderr.read() if process.stderr else b""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(errors.decode())
    seconds, peak_mib = time.perf_counter() - started, used.ru_maxrss >> 10
    return {
        "command": "podpower train",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "s": round(seconds, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),  # on a busy machine, the better figure
        "of_goal": round(seconds / GOAL_S, 2),
        "peak_mib": peak_mib,
        "of_goal_mib": round(peak_mib / GOAL_MIB, 2),
    }


def recall(model: KnnModel, vectors: np.ndarray, count: int = 10) -> float:
    """The share of the ten nearest, of all there are, that the model's own search finds."""
    known, scales = model.index.vectors, model.metric.scales()
    _, found = Search(known, scales, model.inverted_file).near(vectors, count)
    _, exact = Search(known, scales).near(vectors, count)
    return float((found <= exact[:, -1:] * (1 + 1e-4) + 1e-6).mean())


def _peak_mib() -> int:
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) >> 10


# Threads of the math libraries spin while others use the processors; of one thread, CPU seconds are work.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
MEASURES = {"--measure": measure, "--measure-command": measure_command}
_RUNS = (("--measure", _ONE_THREAD), ("--measure-command", {}), ("--measure-command", _ONE_THREAD))


def main(counts: list[int]) -> None:
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train_rows.parquet"
            write_rows(count, path)
            for measured, threads in _RUNS:
                command = [sys.executable, __file__, measured, str(path)]
                subprocess.run(command, check=True, env=os.environ | threads)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in MEASURES:
        print(json.dumps(MEASURES[sys.argv[1]](Path(sys.argv[2]))), flush=True)
    else:
        main([int(count) for count in sys.argv[1:]] or [1_000, 10_000, 100_000])
