"""What was served is measured on the labels of the time in which it was served, and on nothing else."""

from datetime import UTC, datetime

import polars as pl
import pytest

from podpower.datasets.hash_versions import HASH_VERSION
from podpower.datasets.training_set import TrainingSet
from podpower.evaluation.served import evaluate_served
from podpower.registry.store import ModelStore
from podpower.specs.hashing import spec_hash
from podpower.training.train import train

DAY_S = 1767225600.0  # 2026-01-01
HOUR_S = 3600.0


def rows_of(encoder, requests, *, hours=24, factor=lambda _hour: 1.0):
    """Labels of one day; the i-th workload draws (i + 1) watts times the factor of the hour."""
    vectors = encoder.transform(requests)
    return pl.DataFrame(
        {
            "cluster": "c",
            "ts": DAY_S + hour * HOUR_S + step * 600.0,
            "namespace": request.namespace,
            "workload_kind": request.workload_kind,
            "workload_name": request.workload_name,
            "pod": f"{request.workload_name}-0",
            "energy_step_j": (i + 1) * 60.0 * factor(hour),
            "step_seconds": 60.0,
            "energy": "dynamic",
            "_spec_hash": spec_hash(request),
            "spec_hash_version": HASH_VERSION,
            "features": vectors[i].tolist(),
            "encoder_fingerprint": encoder.fingerprint,
            "image_key": f"acme/app{i % 4}",
        }
        for i, request in enumerate(requests)
        for hour in range(hours)
        for step in (1, 3, 5)
    )


@pytest.fixture(scope="module")
def day(make_pair, known_requests):
    """An encoder, and a day of which everything draws twice as much from noon on."""
    encoder, _ = make_pair()
    return encoder, rows_of(encoder, known_requests, factor=lambda hour: 2.0 if hour >= 12 else 1.0)


def served(store, hour, version):
    ModelStore(store.root, clock=lambda: datetime.fromtimestamp(DAY_S + hour * HOUR_S, UTC)).promote(version)


def evaluated(store, rows, start_h=0, end_h=24):
    return evaluate_served(
        store,
        TrainingSet.of(rows),
        start_s=DAY_S + start_h * HOUR_S,
        end_s=DAY_S + end_h * HOUR_S,
        reencode=lambda _encoder, pods: (pods, pods),
    )


def trained(rows, until_h):
    return train(rows.filter(pl.col("ts") <= DAY_S + until_h * HOUR_S))


def test_the_served_version_is_measured_not_the_candidate(tmp_path, day):
    encoder, rows = day
    store = ModelStore(tmp_path)
    old, candidate = (store.add(encoder, trained(rows, until_h)) for until_h in (6, 18))
    served(store, 6, old)
    found = evaluated(store, rows)
    assert found.versions == [old] != [candidate]
    assert found.notes == []
    assert found.split.own.wape == pytest.approx((12 * 1.0) / (6 * 1.0 + 12 * 2.0), abs=0.02)
    assert (found.drift.workloads, found.drift.known, found.drift.seen) == (12, 12, 1.0)


def test_each_version_counts_for_its_own_time(tmp_path, day):
    encoder, rows = day
    store = ModelStore(tmp_path)
    morning, noon = (store.add(encoder, trained(rows, until_h)) for until_h in (6, 13))
    served(store, 6, morning)
    served(store, 13, noon)
    found = evaluated(store, rows)
    assert found.versions == [morning, noon]
    assert found.split.folds == 2
    assert {pod.at_s for pod in found.split.pods} == {DAY_S + 6 * HOUR_S, DAY_S + 13 * HOUR_S}
    assert len(found.split.pods) == 24


def test_a_day_without_a_served_version_measures_nothing_and_has_the_reason(tmp_path, day):
    encoder, rows = day
    store = ModelStore(tmp_path)
    store.add(encoder, trained(rows, 6))
    found = evaluated(store, rows)
    assert found.split is None
    assert found.drift.workloads == 0
    assert found.notes == ["served model: no version was served between 2026-01-01 00:00 UTC and 2026-01-02 00:00 UTC"]


def test_labels_it_was_trained_on_are_no_evidence(tmp_path, day):
    encoder, rows = day
    store = ModelStore(tmp_path)
    served(store, 6, store.add(encoder, trained(rows, 24)))
    found = evaluated(store, rows)
    assert found.split is None
    assert "no labels newer than its own" in found.notes[0]


def test_a_damaged_version_is_named_and_the_others_count(tmp_path, day):
    encoder, rows = day
    store = ModelStore(tmp_path)
    morning, noon = (store.add(encoder, trained(rows, until_h)) for until_h in (6, 13))
    served(store, 6, morning)
    served(store, 13, noon)
    (tmp_path / "versions" / morning / "knn_energy.joblib").write_bytes(b"cut off")
    found = evaluated(store, rows)
    assert found.versions == [noon]
    assert f"{morning}, served from 2026-01-01 06:00 UTC to 2026-01-01 13:00 UTC, cannot be loaded" in found.notes[0]
