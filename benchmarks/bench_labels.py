"""How fast counters become labels, and how far known labels are from the truth of a simulated cluster."""

import json
import tempfile
import time
from pathlib import Path

import polars as pl

from podpower.labels import LabelRequest, label_windows
from podpower.simulation import simulate
from podpower.sources.recording import Recording

HOURS, WORKLOADS = 3, 200


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "recording"
        began = time.perf_counter()
        simulate(root, seed=1, start_s=1767225600.0, hours=HOURS, workloads=WORKLOADS)
        simulated_s = time.perf_counter() - began
        recording = Recording(root)
        began = time.perf_counter()
        labels = label_windows(recording, None, LabelRequest(start_s=recording.start_s, end_s=recording.end_s))
        labelled_s = time.perf_counter() - began
        parts = Recording(root).truth()
    truth = parts.group_by("ts", "namespace", "pod").agg(pl.col("dynamic_j").sum())
    known = labels.table.drop_nulls("energy_step_j").join(truth, on=["ts", "namespace", "pod"])
    pods = known.group_by("namespace", "pod").agg(pl.len(), pl.col("energy_step_j", "dynamic_j").sum())
    long = pods.filter(pl.col("len") >= 30)
    print(
        json.dumps(
            {
                "pods": labels.report.pods,
                "simulated_hours_per_s": round(HOURS / simulated_s, 2),
                "steps_per_s": round(labels.report.rows / labelled_s),
                "mean_error_of_a_step": _error(known).mean(),
                "largest_error_of_a_pod": _error(long).max(),
            },
            default=str,
        )
    )


def _error(table: pl.DataFrame) -> pl.Series:
    return (table["energy_step_j"] / table["dynamic_j"] - 1).abs().round(5)


if __name__ == "__main__":
    main()
