"""Labels of simulated clusters against their true energy."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from podpower.errors import InvalidInput, Unavailable
from podpower.labels import Asked, Labels, label_jobs, label_windows
from podpower.simulation import simulate
from podpower.sources.recording import Recording
from podpower.specs.observing import observe
from podpower.specs.table import specs_table

START_S = 1767258000.0


@pytest.fixture(scope="module", params=["0.9", "0.10"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    root = tmp_path_factory.mktemp("simulated") / request.param
    simulate(root, seed=5, start_s=START_S, hours=2, workloads=24, kepler=request.param)
    return Recording(root)


@pytest.fixture(scope="module")
def specs(recording: Recording) -> pl.DataFrame:
    events = recording.events(start_s=recording.start_s, end_s=recording.end_s)
    observations, rejected = observe(events, start_s=recording.start_s, end_s=recording.end_s, cluster="sim")
    assert rejected == []
    return specs_table(observations)


@pytest.fixture(scope="module")
def labels(recording: Recording, specs: pl.DataFrame) -> Labels:
    return label_windows(recording, specs, Asked(start_s=recording.start_s, end_s=recording.end_s))


def truth(root: Path) -> pl.DataFrame:
    parts = pl.concat(pl.read_parquet(path) for path in root.glob("truth/*/*.parquet"))
    return parts.group_by("ts", "namespace", "pod").agg(pl.col("dynamic_j", "idle_j").sum())


def test_known_energy_is_the_true_energy(recording: Recording, labels: Labels) -> None:
    known = labels.table.filter(pl.col("energy_step_j").is_not_null())
    both = known.join(truth(recording.root), on=["ts", "namespace", "pod"])
    assert len(both) == len(known)
    pods = both.group_by("namespace", "pod").agg(pl.len(), pl.col("energy_step_j", "dynamic_j").sum())
    long = pods.filter(pl.col("len") >= 30)
    assert len(long) > 20
    errors = (long["energy_step_j"] / long["dynamic_j"] - 1).abs()
    assert float(errors.max()) < 0.005  # type: ignore[arg-type]


def test_most_steps_are_known_and_every_null_has_a_reason(labels: Labels) -> None:
    assert labels.report.known > 0.9 * labels.report.rows
    nulls = labels.table.filter(pl.col("energy_step_j").is_null())
    assert nulls["reason"].null_count() == 0
    assert labels.table.filter(pl.col("energy_step_j").is_not_null())["reason"].drop_nulls().is_empty()
    assert sum(labels.report.null_reasons.values()) == len(nulls)


def test_pods_belong_to_the_workload_and_template_that_made_them(labels: Labels, specs: pl.DataFrame) -> None:
    assert labels.table["_spec_hash"].null_count() == 0
    assert set(labels.table["_spec_hash"]) <= set(specs["_spec_hash"])
    kinds = set(labels.table["workload_kind"])
    assert {"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Node", "Rollout"} <= kinds
    assert not kinds & {"ReplicaSet"}


def test_owner_series_know_the_same_workloads(recording: Recording, labels: Labels) -> None:
    by_series = label_windows(
        recording, None, Asked(start_s=recording.start_s, end_s=recording.end_s, owner_source="prom")
    )
    keys = ["namespace", "pod", "ts"]
    known = labels.table.filter(pl.col("reason").is_null())
    both = known.join(by_series.table, on=keys, suffix="_series")
    agree = (both["workload_name"] == both["workload_name_series"]).mean()
    assert float(agree) > 0.97  # type: ignore[arg-type]  # a short-lived pod may fall between two scrapes


def test_pseudo_pods_are_no_pods(labels: Labels) -> None:
    assert not set(labels.table["pod"]) & {"kernel_processes", "system_processes"}
    assert labels.report.excluded_pseudo_pods == (2 if labels.report.generation == "0.9" else 0)


def test_the_result_does_not_depend_on_how_the_range_is_cut(
    recording: Recording, specs: pl.DataFrame, labels: Labels
) -> None:
    middle = recording.start_s + 3600
    parts = [
        label_windows(recording, specs, Asked(start_s=a, end_s=b)).table
        for a, b in ((recording.start_s, middle), (middle, recording.end_s))
    ]
    assert_frame_equal(pl.concat(parts).sort("namespace", "pod", "ts"), labels.table)


def test_total_energy_has_the_idle_share_where_there_is_one(recording: Recording, specs: pl.DataFrame) -> None:
    total = label_windows(recording, specs, Asked(start_s=recording.start_s, end_s=recording.end_s, energy="total"))
    known = total.table.filter(pl.col("energy_step_j").is_not_null())
    both = known.join(truth(recording.root), on=["ts", "namespace", "pod"])
    expected = both["dynamic_j"].sum() + (both["idle_j"].sum() if total.report.generation == "0.9" else 0.0)
    assert float(both["energy_step_j"].sum()) == pytest.approx(expected, rel=0.002)
    assert any("idle" in w for w in total.report.warnings) == (total.report.generation == "0.10")


def test_a_job_is_one_row_with_all_it_is_known_to_have_used(recording: Recording, specs: pl.DataFrame) -> None:
    jobs = label_jobs(recording, specs, Asked(start_s=recording.start_s, end_s=recording.end_s))
    assert jobs.table.select("namespace", "pod").is_unique().all()
    known = jobs.table.filter(pl.col("total_energy_j").is_not_null())
    assert len(known) > 20
    power = known["total_energy_j"] / known["duration_s"]
    assert (power - known["avg_power_w"]).abs().max() == pytest.approx(0.0, abs=1e-9)


def test_an_empty_window_is_refused(recording: Recording) -> None:
    with pytest.raises(InvalidInput, match="no whole step"):
        label_windows(recording, None, Asked(start_s=START_S, end_s=START_S + 10))
    with pytest.raises(Unavailable, match="no Kepler metrics"):
        label_windows(recording, None, Asked(start_s=0.0, end_s=3600.0))
