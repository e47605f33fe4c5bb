"""What a prediction rests on, level by level: each is seen by a cluster in which only it can tell."""

import numpy as np
import polars as pl
import pytest

from podpower.model.partial_pooling import remoteness
from podpower.training.train import train


@pytest.fixture(scope="module")
def images(make_rows):
    """Vectors that tell nothing, images that tell all: ten workloads of each of four."""
    rng = np.random.default_rng(3)
    rows = make_rows(workloads=40, watts=[10.0 ** (i % 4 - 2) * np.exp(rng.normal() * 0.1) for i in range(40)])
    noise = {f"w{i}": rng.normal(size=24).astype(np.float32).tolist() for i in range(40)}
    features = [noise[name] for name in rows["workload_name"]]
    return rows.with_columns(features=pl.Series(features, dtype=pl.List(pl.Float32)))


def test_the_image_decides_where_nothing_else_does(images, queries):
    model = train(images)
    far = np.full((2, 24), 3.0)
    known, new = model.predict(queries(far, image_keys=["acme/family3", "never/seen"])).power_w
    assert known == pytest.approx(10.0, rel=0.4)
    assert new < 5.0
    assert model.pseudo_counts["image"] < 1.0  # learned: the default believes an image less


def test_a_new_revision_draws_what_the_former_ones_did(make_rows, queries):
    rows = make_rows(workloads=20)
    model = train(rows)
    giant = model.index.names.index("w3")
    asked = queries(np.full((1, 24), 3.0), ["f" * 64], [("default", "Deployment", "w3")])
    estimates = model.predict(asked)
    assert estimates.basis.tolist() == ["similar"]
    assert estimates.neighbour_index[0, 0] == giant
    assert estimates.power_w[0] > 0.2 * model.index.power_w[giant]


def test_all_evidence_adds_up_to_one(rows, queries):
    model = train(rows, neighbors=8)
    asked = np.random.default_rng(0).normal(size=(50, 24)) * 0.5
    told = model.predict(queries(asked))  # fewer neighbours than are told
    total = told.neighbour_weight.sum(axis=1) + told.prior_weight
    assert total == pytest.approx(np.ones(50))


def test_a_lone_neighbour_is_as_remote_as_it_is_far():
    distance = np.array([0.0, 1.0, 3.0])
    weight = np.exp(-0.5 * distance**2)
    mass = 0.05
    assert remoteness(mass / (weight + mass), mass) == pytest.approx(distance)
    assert remoteness(np.array([1.0]), mass)[0] > 5
