import os

import polars as pl
import pytest
from hypothesis import settings

from podpower.datasets.hash_versions import HASH_VERSION
from podpower.features.encoder import Encoder
from podpower.specs.hashing import spec_hash
from podpower.specs.requests import Container, InferenceRequest
from podpower.training.train import train
from tests.s3 import forget_servers, new_bucket, serving_s3

# No deadline: the machine's speed is no property of the code. A verification must give the same verdict twice, so there
# the examples are always the same; elsewhere every run looks at new ones.
settings.register_profile("podpower", deadline=None)
settings.register_profile("verification", deadline=None, derandomize=True)
settings.load_profile("verification" if os.environ.get("CI") else "podpower")


def pytest_collection_modifyitems(items):
    """Begin with the tests that wait longest, so that they do not run alone at the end."""
    items.sort(key=lambda item: "live" not in item.path.parts)


@pytest.fixture(scope="session")
def known_requests():
    """Twelve workloads of four images."""

    return [
        InferenceRequest(
            workload_kind="Job" if i % 4 == 3 else "Deployment",
            workload_name=f"w{i}",
            containers=[Container(name="c", image=f"acme/app{i % 4}:1", req_cpu_mcpu=100.0 * (i + 1))],
        )
        for i in range(12)
    ]


@pytest.fixture(scope="session")
def make_pair(known_requests):
    """Trains an encoder and a model that fits it on `known_requests`; the i-th draws (i + 1) * `watts`."""

    def make(watts=1.0, text="ngram"):

        encoder = Encoder.fit(known_requests, text=text)
        vectors = encoder.transform(known_requests)
        rows = [
            {
                "cluster": "c",
                "ts": step * 60.0,
                "namespace": request.namespace,
                "workload_kind": request.workload_kind,
                "workload_name": request.workload_name,
                "pod": f"{request.workload_name}-0",
                "avg_power_w": (i + 1) * watts,
                "energy_step_j": (i + 1) * watts * 60.0,
                "step_seconds": 60.0,
                "energy": "dynamic",
                "_spec_hash": spec_hash(request),
                "spec_hash_version": HASH_VERSION,
                "features": vectors[i].tolist(),
                "encoder_fingerprint": encoder.fingerprint,
                "image_key": f"acme/app{i % 4}",
            }
            for i, request in enumerate(known_requests)
            for step in range(1, 6)
        ]
        return encoder, train(pl.DataFrame(rows))

    return make


@pytest.fixture(scope="session")
def pair(make_pair):
    """One such pair."""
    return make_pair()


@pytest.fixture(scope="session")
def s3_environment():
    """An S3 server; the environment in which s3:// URLs reach it."""
    with serving_s3() as environment:
        yield environment


@pytest.fixture
def s3_url(s3_environment, monkeypatch):
    """URL of a bucket of its own, which this process and its children reach."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    forget_servers()
    return new_bucket(s3_environment)
