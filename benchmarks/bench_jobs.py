"""Job energy against the truth, from a real Prometheus: pods of 20 s to 2 h, resets, exporter restarts, scrapes of 5 to
60 s. Goal: within 2 %, or within the share that is reported as unknown.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from podpower.labels import LabelRequest, label_jobs
from podpower.simulation.openmetrics import write_samples
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.source import Prometheus
from podpower.specs.table import SPECS_SCHEMA
from tests.clusters.prometheus import backfill, serving
from tests.podpower.labels.runs import Run, merged, random_exporter, random_runs, scraped

START_S, SPAN_S = 1767258000.0, 4 * 3600.0
SCRAPES_S, NODES, PODS, RESTARTS_AN_HOUR = (5.0, 15.0, 30.0, 60.0), 3, 50, 1.0


def main() -> None:
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        print(json.dumps({"skipped": "no prometheus and promtool on the PATH"}))
        return
    for kepler in ("0.9", "0.10"):
        rng = np.random.default_rng(1)
        runs, parts = [], []
        for scrape_s in SCRAPES_S:
            for number in range(NODES):
                exporter = random_exporter(
                    rng, node=f"n{scrape_s:g}-{number}", start_s=START_S, span_s=SPAN_S, scrape_s=scrape_s,
                    restarts_an_hour=RESTARTS_AN_HOUR,
                )  # fmt: skip
                own = random_runs(rng, count=PODS, span_s=SPAN_S - 120, lives_s=(20.0, 7200.0), exporter=exporter)
                runs += own
                parts.append(scraped(own, exporter, kepler=kepler))
        with tempfile.TemporaryDirectory() as folder:
            write_samples(merged(parts), Path(folder) / "text.om")
            backfill(Path(folder) / "text.om", Path(folder) / "tsdb")
            with serving(Path(folder) / "tsdb") as url:
                for objects in (True, False):
                    measure(url, kepler, runs, objects=objects)


def measure(url: str, kepler: str, runs: list[Run], *, objects: bool) -> None:
    request = LabelRequest(start_s=START_S - 300, end_s=START_S + SPAN_S)
    began = time.process_time()
    with Prometheus(Endpoint(url=url)) as prometheus:
        table = label_jobs(prometheus, specs_of(runs) if objects else None, request).table
    cpu_s = time.process_time() - began
    ended_s = dict(table.select("pod", "end_s").iter_rows())
    truth = pl.DataFrame(
        {
            "pod": [r.name for r in runs],
            "true_j": [r.total_j for r in runs],
            # Without objects a pod's energy is that up to its last sample.
            "sampled_j": [float(r.joules(r.start_s, np.array([ended_s.get(r.name, r.end_s)]))[0]) for r in runs],
        }
    )
    both = truth.join(table, on="pod", how="left")
    error, of_samples = ((pl.col("total_energy_j") / pl.col(true) - 1).abs() for true in ("true_j", "sampled_j"))
    known = both.drop_nulls("total_energy_j").with_columns(error.alias("error"), of_samples.alias("of_samples"))
    goal = pl.max_horizontal(pl.lit(0.02), 1 - pl.col("known_share"))
    within = known.filter(pl.col("error") <= goal)
    print(
        json.dumps(
            {
                "kepler": kepler,
                "ends_known": objects,
                "pods": len(runs),
                "never_sampled_or_unknown": len(both) - len(known),
                "within_2_percent_or_unknown_share": round(len(within) / len(known), 4),
                "within_up_to_the_last_sample": round(
                    float((known.select(pl.col("of_samples") <= goal)).mean().item()), 4
                ),
                "within_2_percent": round(float((known["error"] <= 0.02).mean()), 4),
                "largest_error_where_95_percent_is_known": round(
                    float(known.filter(pl.col("known_share") >= 0.95)["error"].max()), 4
                ),
                "sum_ratio": round(float(known["total_energy_j"].sum() / known["true_j"].sum()), 4),
                "mean_known_share": round(float(known["known_share"].mean()), 4),
                "cpu_s": round(cpu_s, 2),
            }
        )
    )


def specs_of(runs: list[Run]) -> pl.DataFrame:
    pods = [
        {"pod": r.name, "uid": r.uid, "from_s": r.start_s, "to_s": r.end_s, "node": "n", "outcome": "succeeded"}
        for r in runs
    ]
    row = {"namespace": "runs", "workload_kind": "Job", "workload_name": "run", "_spec_hash": "h", "request": ""}
    return pl.DataFrame([{**row, "pods": pods}], schema=SPECS_SCHEMA)


if __name__ == "__main__":
    main()
