"""Time to train and to predict by the number of known specs: `python benchmarks/bench_model.py [count ...]`."""

import os
import sys

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["POLARS_MAX_THREADS"] = "1"

import json
import resource
import time

import numpy as np
import polars as pl

from podpower.model.training import train

DIM = 287
HOURS = 3


def rows_of(specs: int, seed: int = 0) -> pl.DataFrame:
    """One row an hour and spec, in 64 families whose power and vectors go together."""
    rng = np.random.default_rng(seed)
    family = rng.integers(0, 64, size=specs)
    centers = (rng.normal(size=(64, DIM)) / np.sqrt(DIM)).astype(np.float32)
    vectors = centers[family] + (rng.normal(size=(specs, DIM)) * 0.3 / np.sqrt(DIM)).astype(np.float32)
    power_w = np.exp(rng.normal(size=64) * 2)[family] * np.exp(rng.normal(size=specs) * 0.4)
    frame = pl.DataFrame(
        {
            "namespace": "bench",
            "workload_kind": "Deployment",
            "workload_name": [f"w{i // 2}" for i in range(specs)],
            "pod": [f"p{i}" for i in range(specs)],
            "_spec_hash": [f"{i:064x}" for i in range(specs)],
            "features": pl.Series(vectors, dtype=pl.Array(pl.Float32, DIM)).arr.to_list(),
            "encoder_fingerprint": "f" * 64,
            "energy_step_j": power_w * 60,
            "step_seconds": 60.0,
        }
    )
    return pl.concat([frame.with_columns(ts=pl.lit(60.0 + 3600 * hour)) for hour in range(HOURS)])


def main(counts: list[int]) -> None:
    for count in counts:
        rows = rows_of(count)
        started = time.perf_counter()
        model = train(rows)
        train_s = time.perf_counter() - started
        queries = model.index.vectors[:1000] + np.float32(0.01)
        names = ["?"] * len(queries), [("x", "Deployment", "y")] * len(queries)
        started = time.perf_counter()
        model.predict(queries, *names)
        batch_s = time.perf_counter() - started
        started = time.perf_counter()
        for index in range(50):
            model.predict(queries[index : index + 1], ["?"], [("x", "Deployment", "y")])
        one_s = (time.perf_counter() - started) / 50
        result = {
            "specs": count,
            "rows": len(rows),
            "train_s": round(train_s, 2),
            "predict_1000_per_s": round(len(queries) / batch_s),
            "predict_one_ms": round(one_s * 1e3, 2),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [1_000, 10_000, 100_000])
