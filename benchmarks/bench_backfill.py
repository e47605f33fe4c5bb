"""A day of hourly label partitions for 1,000 pods as one Dagster run, from a real Prometheus. Needs promtool."""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from bench_prometheus import START_S, write_counters

from podpower.settings import AssetSettings
from podpower_assets.definitions import assets
from podpower_assets.partitions import hours_between, range_tags
from podpower_assets.resources import Models, Source, Tables
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import write_kubeconfig
from tests.clusters.prometheus import backfill, serving

PODS, HOURS = 1000, 24


def main() -> None:
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        print(json.dumps({"skipped": f"no {', '.join(missing)}"}))
        return
    with tempfile.TemporaryDirectory() as folder, FakeCluster() as cluster:
        data = Path(folder) / "tsdb"
        text = data.with_suffix(".om")
        write_counters(text, pods=PODS, hours=HOURS, scrape_s=60.0, modes=("dynamic",))
        backfill(text, data)
        os.environ["KUBECONFIG"] = str(write_kubeconfig(Path(folder) / "config", cluster.url))
        with serving(data) as url:
            os.environ["PODPOWER_PROMETHEUS_URL"] = url
            print(json.dumps(measured(Path(folder))))


def measured(folder: Path) -> dict[str, object]:
    hours = hours_between(START_S, START_S + HOURS * 3600)
    tables = Tables(root=str(folder / "tables"))
    with dg.instance_for_test() as instance:
        began = time.perf_counter()
        result = dg.materialize(
            assets(AssetSettings()),
            selection=[dg.AssetKey("kepler_labels")],
            instance=instance,
            tags=range_tags(hours[0], hours[-1]),
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            resources={
                "source": Source(recording=str(folder / "journal")),
                "tables": tables,
                "models": Models(root=str(folder / "models")),
            },
        )
        seconds = time.perf_counter() - began
        runs = len(instance.get_runs())
    rows = sum(len(tables.read("kepler_labels", hour)) for hour in hours)
    return {
        "pods": PODS,
        "hours": len(hours),
        "runs": runs,
        "ok": result.success,
        "labels": rows,
        "s": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
