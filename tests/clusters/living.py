"""A live cluster for tests: the objects and the last hours of counters of one simulation, behind real sockets."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import polars as pl

from podpower.simulation import simulate
from podpower.sources.recording import Recording
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import write_kubeconfig
from tests.clusters.prometheus import backfill_recording, serving

_ELSEWHERE = {"RayCluster", "Node"}  # owners that nobody watches


@dataclass(frozen=True)
class Living:
    cluster: FakeCluster
    kubeconfig: Path
    prometheus_url: str
    recording: Recording

    def truth(self) -> pl.DataFrame:
        """True joules of each pod and minute."""
        parts = pl.concat(pl.read_parquet(path) for path in self.recording.root.glob("truth/*/*.parquet"))
        return parts.group_by("ts", "namespace", "pod").agg(pl.col("dynamic_j").sum())


@contextlib.contextmanager
def living(
    folder: Path, *, hours: int, seed: int = 5, kepler: str = "0.10", workloads: int = 20, ahead_s: int = 0
) -> Iterator[Living]:
    """The cluster as it is now, after `hours` that Prometheus remembers. Of these the last `ahead_s` are yet to come:
    samples are fresh for so long, however slow the machine.
    """
    start_s = time.time() // 60 * 60 - hours * 3600 + ahead_s
    # What happens depends on the calendar too: in some minutes a node was not scraped for long, and had pods without
    # energy.
    with mock.patch("podpower.simulation.cluster._SCRAPE_GAPS", 0.0):
        simulate(folder / "recording", seed=seed, start_s=start_s, hours=hours, workloads=workloads, kepler=kepler)
    recording = Recording(folder / "recording")
    backfill_recording(recording.root, folder / "tsdb")
    alive = {}
    for event in recording.events(start_s=recording.start_s, end_s=recording.end_s):
        uid = event.object["metadata"]["uid"]
        if event.type == "DELETED":
            alive.pop(uid, None)
        else:
            alive[uid] = event.object
    with FakeCluster() as cluster, serving(folder / "tsdb") as url:
        cluster.register("argoproj.io", "v1alpha1", "rollouts", "Rollout")
        cluster.put_many(obj for obj in alive.values() if obj["kind"] not in _ELSEWHERE)
        yield Living(cluster, write_kubeconfig(folder / "kubeconfig", cluster.url), url, recording)
