"""Labels of simulated clusters against their true energy."""

from functools import partial
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from podpower.errors import InvalidInput, Unavailable
from podpower.labels import LabelRequest, Labels, label_ended_pods, label_jobs, label_windows
from podpower.labels.parts import parts_of
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
    return label_windows(recording, specs, LabelRequest(start_s=recording.start_s, end_s=recording.end_s))


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
        recording, None, LabelRequest(start_s=recording.start_s, end_s=recording.end_s, owner_source="prom")
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
        label_windows(recording, specs, LabelRequest(start_s=a, end_s=b)).table
        for a, b in ((recording.start_s, middle), (middle, recording.end_s))
    ]
    whole = pl.concat(parts).sort("namespace", "pod", "ts")
    assert_frame_equal(whole, labels.table)


def test_total_energy_has_the_idle_share_where_there_is_one(recording: Recording, specs: pl.DataFrame) -> None:
    total = label_windows(
        recording, specs, LabelRequest(start_s=recording.start_s, end_s=recording.end_s, energy="total")
    )
    known = total.table.filter(pl.col("energy_step_j").is_not_null())
    both = known.join(truth(recording.root), on=["ts", "namespace", "pod"])
    expected = both["dynamic_j"].sum() + (both["idle_j"].sum() if total.report.generation == "0.9" else 0.0)
    assert float(both["energy_step_j"].sum()) == pytest.approx(expected, rel=0.002)
    assert any("idle" in w for w in total.report.warnings) == (total.report.generation == "0.10")


def jobs_truth(recording: Recording) -> pl.DataFrame:
    """True energy and life of every pod that ended, or still ran at the end."""
    parts = pl.concat(pl.read_parquet(path) for path in recording.root.glob("truth/*/*.parquet"))
    return parts.group_by("namespace", "pod", "uid").agg(pl.col("dynamic_j").sum().alias("true_j"))


@pytest.fixture(scope="module")
def jobs(recording: Recording, specs: pl.DataFrame) -> Labels:
    return label_jobs(recording, specs, LabelRequest(start_s=recording.start_s, end_s=recording.end_s))


def test_a_job_is_one_row_with_all_its_energy(recording: Recording, jobs: Labels) -> None:
    truth_of = jobs_truth(recording)
    assert jobs.table["pod_uid"].is_unique().all()
    assert set(truth_of["uid"]) <= set(jobs.table["pod_uid"])
    both = jobs.table.join(truth_of, left_on="pod_uid", right_on="uid", how="inner")
    known = both.drop_nulls("total_energy_j")
    error = (known["total_energy_j"] / known["true_j"] - 1).abs()
    allowed = (1 - known["known_share"]).clip(lower_bound=0.02)
    assert known.filter(error > allowed).select("pod", "total_energy_j", "true_j", "known_share").rows() == []
    unknown = both.filter(pl.col("total_energy_j").is_null())
    assert set(unknown["reason"]) <= {"never_sampled", "short_lived"}
    assert (unknown["duration_s"] < 30.0).all()  # without a scrape, or with one of an exporter that was new itself
    assert len(known) > 0.8 * len(both)


def test_a_job_has_watts_seconds_and_joules_that_agree(jobs: Labels) -> None:
    known = jobs.table.drop_nulls("total_energy_j")
    assert (known["end_s"] - known["start_s"]).to_list() == pytest.approx(known["duration_s"].to_list())
    assert (known["avg_power_w"] * known["duration_s"]).to_list() == pytest.approx(known["total_energy_j"].to_list())
    assert known["known_share"].is_between(0.0, 1.0).all()


def test_a_job_does_not_depend_on_how_the_range_is_read(
    recording: Recording, specs: pl.DataFrame, jobs: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podpower.labels.pod_life_export.PIECE_S", 437.0)
    request = LabelRequest(start_s=recording.start_s, end_s=recording.end_s)
    assert_frame_equal(label_jobs(recording, specs, request).table, jobs.table)


def test_labels_do_not_depend_on_parts_of_exporters(
    recording: Recording, specs: pl.DataFrame, labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podpower.labels.exporting.parts_of", partial(parts_of, few=1, most=5))
    again = label_windows(recording, specs, LabelRequest(start_s=recording.start_s, end_s=recording.end_s))
    assert_frame_equal(again.table, labels.table, rel_tol=1e-12)
    assert again.report.null_reasons == labels.report.null_reasons
    assert [str(ratio) for ratio in again.report.node_ratios] == [str(ratio) for ratio in labels.report.node_ratios]


def test_ended_pods_have_labels_over_their_whole_lives(recording: Recording) -> None:
    start_s, end_s = recording.start_s + 3720.0, recording.end_s
    observations, _ = observe(recording.events(start_s=start_s, end_s=end_s), start_s=start_s, end_s=end_s)
    ended = label_ended_pods(recording, specs_table(observations), LabelRequest(start_s=start_s, end_s=end_s)).table
    assert len(ended) > 10
    assert ended["end_s"].is_between(start_s, end_s).all()
    assert float(ended["start_s"].min()) < start_s - 100  # type: ignore[arg-type]
    assert set(ended["outcome"]) == {"succeeded"}
    both = ended.join(jobs_truth(recording), left_on="pod_uid", right_on="uid").drop_nulls("total_energy_j")
    began_inside = both.filter(pl.col("start_s") >= recording.start_s)
    error = (began_inside["total_energy_j"] / began_inside["true_j"] - 1).abs()
    assert (error <= (1 - began_inside["known_share"]).clip(lower_bound=0.02)).all()


def test_pods_that_ended_where_kepler_has_no_series_were_never_sampled(
    recording: Recording, specs: pl.DataFrame
) -> None:
    later = recording.end_s + 100 * 3600.0
    moved = pl.element().struct.with_fields(pl.lit(later + 5.0).alias("from_s"), pl.lit(later + 50.0).alias("to_s"))
    pods = pl.col("pods").list.eval(moved).alias("pods")
    request = LabelRequest(start_s=later, end_s=later + 3600.0)
    jobs = label_ended_pods(recording, specs.with_columns(pods), request)
    assert set(jobs.table["reason"]) == {"never_sampled"}
    assert jobs.table["total_energy_j"].null_count() == len(jobs.table) > 20


def test_an_empty_window_is_refused(recording: Recording) -> None:
    with pytest.raises(InvalidInput, match="no whole step"):
        label_windows(recording, None, LabelRequest(start_s=START_S, end_s=START_S + 10))
    with pytest.raises(Unavailable, match="no Kepler metrics"):
        label_windows(recording, None, LabelRequest(start_s=0.0, end_s=3600.0))
