"""A CronJob with runs of 90 s, from a live cluster and a real Prometheus to its prediction over HTTP."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from litestar.testing import TestClient

from podpower.hours import HOUR_S
from podpower.simulation.openmetrics import write_samples
from podpower_assets.partitions import day_key, hour_key
from podpower_serving.app import create_app
from podpower_serving.settings import Settings
from tests.assets.conftest import HOURLY, Place
from tests.clusters.collecting import Collector
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import Object, deployment, owned, running_pod
from tests.clusters.prometheus import backfill, need_prometheus, serving
from tests.podpower.labels.runs import Exporter, Run, scraped

RUN_W, RUN_S, PERIOD_S = 2.2, 90.0, 600.0
STEADY_W = {"cart": 5.0, "search": 0.3, "shop": 20.0}  # of two Deployments each, so that a new one can be predicted


def written(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_of(pod: Object, start_s: float, end_s: float, watts: float) -> Run:
    minutes = int((end_s - start_s) // 60) + 1
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    return Run(name=name, uid=uid, start_s=start_s, end_s=end_s, resets=(), power_w=np.full(minutes, watts))


def steady(cluster: FakeCluster, name: str, image: str, made_s: float) -> Object:
    """Add a Deployment that runs all the time; returns its pod."""
    web = deployment(name, image=f"acme/{image}:1", namespace="runs", NAME=name)
    made = {"creationTimestamp": written(made_s)}
    web["metadata"] |= made
    template = web["spec"]["template"]
    replicas = owned("ReplicaSet", f"{name}-1", cluster.add(web), spec={"template": template})
    replicas["metadata"] |= made
    pod = running_pod(f"{name}-1-x", cluster.add(replicas), template)
    pod["metadata"] |= made
    return cluster.add(pod)


def cron_job(made_s: float) -> Object:
    template = deployment("report", image="acme/report:1")["spec"]["template"]
    metadata = {"name": "report", "namespace": "runs", "creationTimestamp": written(made_s)}
    spec = {"schedule": "*/10 * * * *", "jobTemplate": {"spec": {"template": template}}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}


def finished(cluster: FakeCluster, report: Object, number: int, start_s: float) -> Object:
    """Add a Job of the CronJob that has run, and its pod; returns the pod."""
    template = report["spec"]["jobTemplate"]["spec"]["template"]
    made = {"creationTimestamp": written(start_s)}
    job = owned("Job", f"report-{number}", report, spec={"template": template})
    job["metadata"] |= made
    pod = running_pod(f"report-{number}-x", cluster.add(job), template)
    pod["metadata"] |= made
    ended = {"state": {"terminated": {"finishedAt": written(start_s + RUN_S)}}}
    pod["status"] = {"phase": "Succeeded", "containerStatuses": [ended]}
    return cluster.add(pod)


@pytest.fixture
def hour_s() -> float:
    return time.time() // HOUR_S * HOUR_S - HOUR_S


@pytest.fixture
def place(hour_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A cluster whose CronJob ran six times in the last hour, before podpower came."""
    need_prometheus()
    with FakeCluster() as cluster, dg.instance_for_test() as instance:
        report = cluster.add(cron_job(hour_s - 1800))
        runs = []
        for number in range(6):
            start_s = hour_s + number * PERIOD_S + 7
            runs.append(run_of(finished(cluster, report, number, start_s), start_s, start_s + RUN_S, RUN_W))
        for image, watts in STEADY_W.items():
            for name in (f"{image}-a", f"{image}-b"):
                pod = steady(cluster, name, image, hour_s - 1800)
                runs.append(run_of(pod, hour_s - 1800, time.time() + 60, watts))
        scrapes = np.arange(hour_s - 900, time.time(), 30.0) + 11
        exporter = Exporter(node="n", scrapes=scrapes, restarts=np.zeros(0))
        write_samples(scraped(runs, exporter, kepler="0.10"), tmp_path / "text.om")
        backfill(tmp_path / "text.om", tmp_path / "tsdb")
        with serving(tmp_path / "tsdb") as url:
            monkeypatch.setenv("PODPOWER_PROMETHEUS_URL", url)
            collector = Collector(cluster, tmp_path / "journal", tmp_path)
            collector.collect()
            yield Place(instance, collector.url, tmp_path)


def test_a_cron_job_with_runs_of_90_s_is_predicted_by_its_runs(place: Place, hour_s: float) -> None:
    hour, day = hour_key(hour_s), day_key(hour_s)
    assert place.materialize(*HOURLY, first=hour).success
    labels = place.tables.read("job_labels", hour)
    assert labels is not None
    assert labels["total_energy_j"].to_list() == pytest.approx([RUN_W * RUN_S] * 6, rel=0.02)
    assert place.materialize("knn_model", "promoted_model", first=day).success
    with TestClient(create_app(Settings(model_store=place.models.root))) as client:
        (found,) = client.post("/predict/batch", json=cron_job(hour_s)).json()["predictions"]
    assert found["basis"] == "seen"
    assert found["pred_avg_power_w"] == pytest.approx(RUN_W, rel=0.02)
    assert found["pred_total_energy_j"] == pytest.approx(RUN_W * RUN_S, rel=0.02)
    assert found["total_avg_power_w"] == pytest.approx(RUN_W * RUN_S / PERIOD_S, rel=0.02)  # the mean over the period
    assert found["label_source"].startswith("Kepler 0.")
