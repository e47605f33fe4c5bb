"""Memory of one hour's assets for 50,000 pods: `bench_hour.py [--pods N]`.

A made cluster is in a real Prometheus and a journal. Every hourly asset of an hour is materialized through Dagster, all
in one process, as a run of the platform is; memory is the peak of that process. Exits with 1 above 3 GiB. Needs
prometheus and promtool; `--folder` keeps the made cluster for the next time.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import dagster as dg

sys.path.insert(0, str(Path(__file__).parents[1]))  # the real Prometheus of the tests
from scale.made_cluster import MadeCluster, made
from scale.verdict import Row, show

from podpower import settings
from podpower.cli.homes import home_at, home_environment
from podpower.hours import HOUR_S, start_of_hour
from podpower_assets.definitions import definitions
from podpower_assets.partitions import hour_key, range_tags
from podpower_assets.resources import Tables
from tests.clusters.prometheus import serving

ASSETS = ("workload_specs", "encoder", "features", "kepler_labels", "job_labels", "training_rows", "fleet_summary")
GOAL_MIB = 3 * 1024
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, help="of the made cluster, kept")
    parser.add_argument("--materialize", metavar="HOUR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.materialize:
        return materialize(arguments.materialize)
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        print(f"skipped: no {', '.join(missing)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="hour-") as temporary:
        folder = arguments.folder or Path(temporary) / "made"
        start_s = start_of_hour(time.time()) - 2 * HOUR_S
        cluster = made(folder, MadeCluster(pods=arguments.pods, hours=1, start_s=start_s))
        hour = hour_key(cluster.start_s)
        with serving(folder / "tsdb") as url:
            clean = {k: v for k, v in os.environ.items() if not k.startswith(("PODPOWER_", "DAGSTER_"))}
            given = {settings.PROMETHEUS_URL: url, settings.RECORDING: str(folder / "journal")}
            given["PODPOWER_PARTITIONS_START"] = hour
            environment = home_environment(home_at(temporary), clean | given)
            command = [sys.executable, "-W", "ignore", __file__, "--materialize", hour]
            found = json.loads(subprocess.check_output(command, env=environment, text=True).splitlines()[-1])
    print(f"{cluster.pods} pods, one hour; {found['labels']:,} labels; {found['cpu_s']:.0f} s of CPU")
    for asset, (peak_mib, cpu_s) in found["assets"].items():
        print(f"  {asset:15} {cpu_s:6.1f} s of CPU, peak so far {peak_mib:6.0f} MiB")
    return show([Row("peak memory", f"{found['peak_mib']:.0f} MiB", f"{GOAL_MIB} MiB", found["peak_mib"] <= GOAL_MIB)])


def materialize(hour: str) -> int:
    """Materialize the hour in this process, and print what it took."""
    warnings.simplefilter("ignore")
    given, found = settings.read(), dict[str, tuple[float, float]]()
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions(given).resolve_implicit_global_asset_job_def()
        for asset in ASSETS:
            cpu_s = time.process_time()
            job.execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(asset)], tags=range_tags(hour, hour), run_config=QUIET
            )
            found[asset] = (peak_mib(), time.process_time() - cpu_s)
    labels = Tables(root=given.places.tables).read("kepler_labels", hour)
    shown = {"assets": found, "labels": 0 if labels is None else len(labels)}
    print(json.dumps({**shown, "peak_mib": max(peak for peak, _ in found.values()), "cpu_s": time.process_time()}))
    return 0


def peak_mib() -> float:
    """Return the most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
