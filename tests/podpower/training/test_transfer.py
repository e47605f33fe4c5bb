"""Encoder and model together: what was learned on one cluster is of use on another."""

import numpy as np
import polars as pl
import pytest

from podpower.features.encoder import Encoder
from podpower.features.names import main_image_key
from podpower.features.table import features_table
from podpower.specs.requests import Container, InferenceRequest
from podpower.training.train import train

SOFTWARE = (
    "nginx", "redis", "postgres", "kafka", "grafana", "loki", "envoy", "rabbitmq", "mongodb", "mysql", "minio", "vault",
    "keycloak", "jenkins", "airflow", "spark", "flink", "trino", "superset", "pytorch", "triton", "jupyter", "gitlab",
    "cassandra",
)  # fmt: skip


def request_of(software, *, registry, prefix, namespace, tag):
    image = f"{registry}/{software}:{tag}"
    return InferenceRequest(
        namespace=namespace,
        workload_kind="Deployment",
        workload_name=f"{prefix}{software}",
        containers=[Container(name="main", image=image, req_cpu_mcpu=200.0)],
    )


@pytest.fixture(scope="module")
def home():
    return [request_of(s, registry="docker.io/library", prefix="", namespace="prod", tag="1") for s in SOFTWARE]


@pytest.fixture(scope="module")
def trained(home):
    rng = np.random.default_rng(3)
    power_w = np.exp(rng.normal(size=len(SOFTWARE)) * 2)
    encoder = Encoder.fit(home)
    features = features_table(home, encoder.transform(home), encoder=encoder)
    labels = pl.DataFrame({"energy_step_j": power_w * 60, "pod": [f"{s}-0" for s in SOFTWARE]})
    rows = features.hstack(labels).with_columns(step_seconds=pl.lit(60.0))
    hours = [rows.with_columns(ts=pl.lit(3600.0 * hour + 60)) for hour in (0, 1)]
    return encoder, train(pl.concat(hours)), power_w


def test_another_cluster_names_and_registries_do_not_hide_the_software(trained, queries):
    encoder, model, power_w = trained
    away = [
        request_of(s, registry="harbor.example.org:8443/mirror", prefix="eu-", namespace="team-b", tag="9@sha256:ab")
        for s in SOFTWARE
    ]
    names = [(r.namespace, r.workload_kind, r.workload_name) for r in away]
    images = [main_image_key(request) for request in away]
    estimates = model.predict(queries(encoder.transform(away), workloads=names, image_keys=images))
    nearest = estimates.neighbour_index[:, 0]
    own = {workload[2]: entry for entry, workload in enumerate(model.index.workloads)}
    right = [nearest[i] == own[s] for i, s in enumerate(SOFTWARE)]
    assert np.mean(right) > 0.95
    assert images[0] == "mirror/nginx"  # where at home it was plain nginx
    assert np.median(np.abs(np.log(estimates.power_w / power_w))) < 0.3
    assert np.corrcoef(np.log(estimates.power_w), np.log(power_w))[0, 1] > 0.85


def test_software_that_no_cluster_knows_is_predicted_as_unknown(trained, queries):
    encoder, model, _ = trained
    strange = [
        InferenceRequest(
            workload_kind="DaemonSet",
            workload_name="xyzzy",
            containers=[Container(name="q", image="acme/xyzzy", req_cpu_mcpu=64000.0, lim_mem_mib=1e6)],
            gpu_count=8,
        )
    ]
    estimates = model.predict(queries(encoder.transform(strange), workloads=[("a", "DaemonSet", "xyzzy")]))
    low, high = estimates.interval()
    assert estimates.basis.tolist() == ["prior"]
    assert high[0] / low[0] > 10
