import polars as pl
import pytest

from podpower.features.encoder import Encoder
from podpower.labels.table import WINDOWS_SCHEMA
from podpower.model.cold_start import cold_start_model
from podpower.model.predictor import Predictor
from podpower.specs.hashing import spec_hash
from podpower.specs.observing import Observation, ObservedPod
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.table import specs_table

HOUR_S = 3600.0
START_S = 1_790_000_000.0 // HOUR_S * HOUR_S  # the first hour of all tests


def request_of(name, *, namespace="shop", cluster="a", kind="Deployment"):
    container = Container(name="main", image=f"acme/{name}", req_cpu_mcpu=500.0)
    return InferenceRequest(
        cluster=cluster, namespace=namespace, workload_kind=kind, workload_name=name, containers=[container]
    )


@pytest.fixture(scope="session")
def specs_of():
    """Specs of workloads, `name -> [(pod, from_s, to_s)]`, seconds from START_S."""

    def make(pods, **whose):
        observations = []
        for name, runs in pods.items():
            request = request_of(name, **whose)
            observed = [
                ObservedPod(pod=p, uid=p, from_s=START_S + a, to_s=None if b is None else START_S + b)
                for p, a, b in runs
            ]
            observations.append(
                Observation(request=request, spec_hash=spec_hash(request), observed_from_s=START_S, pods=observed)
            )
        return specs_table(observations)

    return make


@pytest.fixture(scope="session")
def labels_of():
    """Labels of one pod: its watts in each minute, None where unknown, as a query; the reason of unknown ones."""

    def make(name, watts, *, namespace="shop", pod=None, known_s=60.0, reason="gap", start_s=START_S):
        rows = [
            {
                "ts": start_s + 60.0 * (minute + 1),
                "namespace": namespace,
                "workload_kind": "Deployment",
                "workload_name": name,
                "pod": pod or f"{name}-0",
                "avg_power_w": power_w,
                "known_s": known_s if power_w is not None else 0.0,
                "step_seconds": 60.0,
                "reason": reason if power_w is None or known_s < 60.0 else None,
            }
            for minute, power_w in enumerate(watts)
        ]
        return pl.DataFrame(rows, schema=WINDOWS_SCHEMA)

    return make


@pytest.fixture(scope="session")
def predictor():
    encoder = Encoder.fit([request_of("web"), request_of("db")])
    return Predictor(encoder, cold_start_model(encoder), version="v1")
