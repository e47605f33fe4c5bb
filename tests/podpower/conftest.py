import numpy as np
import polars as pl
import pytest

from podpower.datasets.entries import Entries
from podpower.datasets.hash_versions import HASH_VERSION
from podpower.kubernetes.controllers import same_kind

STEP = 60.0
DIM = 24


def _make_rows(*, workloads=12, hours=2, watts=None, seed=0, pods=1, every_s=600.0):
    """Window labels of `workloads` in four families. Vectors and log power both come from the family, so that
    neighbours tell something, and from the workload, so that they do not tell all."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(4, DIM)) * 0.5
    rows = []
    for index in range(workloads):
        family = index % 4
        vector = (centers[family] + rng.normal(size=DIM) * 0.04).astype(np.float32)
        power_w = 10.0 ** (family - 2) * np.exp(rng.normal() * 0.3) if watts is None else watts[index]
        for pod in range(pods):
            for step in range(1, int(hours * 3600 / every_s) + 1):
                energy_j = power_w * STEP * (1 + rng.normal() * 0.02)
                rows.append(
                    {
                        "cluster": "c",
                        "ts": step * every_s,
                        "namespace": "default",
                        "workload_kind": "Deployment",
                        "workload_name": f"w{index}",
                        "pod": f"w{index}-{pod}",
                        "avg_power_w": energy_j / STEP,
                        "energy_step_j": max(energy_j, 0.0),
                        "step_seconds": STEP,
                        "energy": "dynamic",
                        "_spec_hash": f"{index:064x}",
                        "spec_hash_version": HASH_VERSION,
                        "features": vector.tolist(),
                        "encoder_fingerprint": "f" * 64,
                        "image_key": f"acme/family{family}",
                    }
                )
    return pl.DataFrame(rows, schema_overrides={"features": pl.List(pl.Float32)})


def _queries(vectors, spec_hashes=None, workloads=None, *, clusters=None, image_keys=None, physical_power_w=None):
    vectors = np.asarray(vectors, dtype=np.float32)
    workloads = workloads or [("elsewhere", "Deployment", "new")] * len(vectors)
    return Entries(
        vectors=vectors,
        spec_hashes=spec_hashes or ["0" * 63 + "x"] * len(vectors),
        clusters=clusters or [""] * len(vectors),
        namespaces=[namespace for namespace, _, _ in workloads],
        kinds=[kind for _, kind, _ in workloads],
        names=[name for _, _, name in workloads],
        controllers=[same_kind(kind) for _, kind, _ in workloads],
        image_keys=image_keys or [""] * len(vectors),
        physical_power_w=np.full(len(vectors), np.nan) if physical_power_w is None else np.array(physical_power_w),
    )


@pytest.fixture(scope="session")
def queries():
    """Makes queries of vectors; unknown specs of an unknown workload unless told."""
    return _queries


@pytest.fixture(scope="session")
def own_queries():
    """Asks a model for what it knows."""

    return lambda model, at=slice(None): model.index.specs.part(at)


@pytest.fixture(scope="session")
def known_vectors():
    """The encoder's vectors of a model's entries."""
    return lambda model: model.index.vectors


@pytest.fixture(scope="session")
def make_rows():
    """Builds train_rows of a cluster where similar vectors draw similar power."""
    return _make_rows


@pytest.fixture(scope="session")
def rows():
    """A cluster of 40 workloads over two hours."""
    return _make_rows(workloads=40)
