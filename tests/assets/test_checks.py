"""Checks that fail, and what they stop."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import msgspec
import polars as pl
import pytest

from podpower.datasets.join import JoinedRows, join_rows
from podpower.datasets.training_set import TrainingSet
from podpower.evaluation.champion import ChampionComparison
from podpower.evaluation.checks import check_model
from podpower.evaluation.evaluate import EvaluationReport
from podpower.evaluation.results import SplitReport
from podpower.evaluation.scores import Score
from podpower.simulation import simulate
from podpower_assets.model.window import window_rows
from podpower_assets.versions import recorded
from tests.assets.conftest import DAY, HOURLY, HOURS, START_S, Place


@pytest.fixture
def zeros(recording: Path, tmp_path: Path) -> Path:
    """The recording of a cluster without hardware counters: every energy reads 0."""
    root = tmp_path / "zeros"
    shutil.copytree(recording, root)
    names = pl.concat(pl.read_parquet(p) for p in root.glob("series/*/*.parquet"))
    energy = names.filter(pl.col("metric").str.contains("joules"))["series_id"].unique()
    for part in root.glob("samples/*/*.parquet"):
        zero = pl.when(pl.col("series_id").is_in(energy.implode())).then(0.0).otherwise("value")
        pl.read_parquet(part).with_columns(zero.alias("value")).write_parquet(part)
    return root


def test_a_cluster_that_reads_zero_everywhere_is_not_learned_from(zeros: Path, tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        place = Place(instance, zeros, tmp_path)
        result = place.materialize(
            "workload_specs", "encoder", "features", "kepler_labels", "training_rows", first=HOURS[0]
        )
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [e.check_name for e in failed] == ["energy_is_not_all_zero"]
    assert place.tables.partitions("training_rows") == []


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def test_a_label_that_is_there_twice_fails_the_check_of_its_rows(made: Place) -> None:
    labels = made.tables.read("kepler_labels", HOURS[0])
    assert labels is not None
    made.tables.write("kepler_labels", HOURS[0], pl.concat([labels, labels.head(1)]))
    try:
        result = made.materialize("training_rows", first=HOURS[0])
        assert outcomes(result) == {"table_is_whole": True, "one_row_a_label": False, "most_labels_join": True}
    finally:
        made.tables.write("kepler_labels", HOURS[0], labels)
        assert outcomes(made.materialize("training_rows", first=HOURS[0]))["one_row_a_label"]


def test_rows_that_failed_their_check_are_left_out_of_training(made: Place) -> None:
    encoder = made.tables.require_encoder()
    whole, _ = window_rows([made.tables], DAY, window_days=1, encoder=encoder)
    before = made.tables.verdict("training_rows", HOURS[0])
    assert before is not None
    failed = msgspec.structs.replace(before, failed_checks=("one_row_a_label",))
    made.tables.write_verdict("training_rows", HOURS[0], failed)
    try:
        rows, window = window_rows([made.tables], DAY, window_days=1, encoder=encoder)
    finally:
        made.tables.write_verdict("training_rows", HOURS[0], before)
    assert window.failed_hours == [HOURS[0]]
    assert window.first_hour == HOURS[1]
    assert len(TrainingSet.of(rows).frame) < len(TrainingSet.of(whole).frame)


def test_labels_without_specs_fail_the_check_of_joins(made: Place) -> None:
    labels = made.tables.read("kepler_labels", HOURS[0])
    assert labels is not None
    foreign = labels.with_columns(pl.lit("nobody").alias("workload_name"), pl.lit("other").alias("_spec_hash"))
    made.tables.write("kepler_labels", HOURS[0], foreign)
    try:
        result = made.materialize("training_rows", first=HOURS[0])
        assert outcomes(result) == {"table_is_whole": True, "one_row_a_label": True, "most_labels_join": False}
    finally:
        made.tables.write("kepler_labels", HOURS[0], labels)
        assert made.materialize("training_rows", first=HOURS[0]).success


def report(*, log_r2: float, coverage: float) -> EvaluationReport:
    scores = {
        "podpower": Score(count=9, log_r2=log_r2, coverage=coverage),
        "constant": Score(count=9, log_r2=-0.05),
    }
    split = SplitReport(
        name="unseen workloads", folds=9, folds_in_all=9, nominal_coverage=0.8, scores=scores, by_basis={}, pods=[]
    )
    return EvaluationReport(target="energy_step_j", unit="J", step_seconds=60.0, splits=[split], notes=[])


@pytest.mark.parametrize(
    ("log_r2", "coverage", "passed"),
    [(0.3, 0.8, [True, True]), (-0.2, 0.8, [False, True]), (0.3, 0.2, [True, False]), (-0.05, 0.5, [True, True])],
    ids=["good", "worse than the constant", "intervals that do not cover", "just as good"],
)
def test_a_model_is_held_back_by_what_it_does_on_unseen_workloads(
    log_r2: float, coverage: float, passed: list[bool]
) -> None:
    assert [c.passed for c in check_model(report(log_r2=log_r2, coverage=coverage), ChampionComparison())] == [
        *passed,
        True,
        True,
    ]


def test_a_model_that_fails_its_check_is_stored_but_not_promoted(made: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The served model stays, and the candidate can be looked at."""
    store = made.models.open()
    served, versions = store.served(), len(store.versions())
    monkeypatch.setattr("podpower.evaluation.checks._MIN_COVERAGE", 1.1)  # nothing covers as much
    result = made.materialize("knn_model", "promoted_model", first="2026-01-01")
    assert [e.check_name for e in result.get_asset_check_evaluations() if not e.passed] == ["intervals_cover"]
    assert store.served() == served
    assert len(store.versions()) == versions + 1


def test_pods_that_do_not_add_up_to_their_nodes_fail_a_check_and_are_a_note_of_the_model(
    recording: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "recording"
    shutil.copytree(recording, copy)
    named = pl.concat(pl.read_parquet(p) for p in copy.glob("series/*/*.parquet"))
    ids = named.filter(pl.col("metric").str.starts_with("kepler_node_"))["series_id"].unique()
    for path in copy.glob("samples/*/*.parquet"):
        half = pl.when(pl.col("series_id").is_in(ids.implode())).then(pl.col("value") / 2).otherwise("value")
        pl.read_parquet(path).with_columns(half.alias("value")).write_parquet(path)
    with dg.DagsterInstance.ephemeral() as instance:
        place = Place(instance, copy, tmp_path / "home")
        result = place.materialize(*HOURLY, first=HOURS[0], last=HOURS[-1])
        checks_failed = [(e.check_name, e.partition) for e in result.get_asset_check_evaluations() if not e.passed]
        assert checks_failed == [("pods_add_up_to_their_nodes", hour) for hour in HOURS]
        assert place.materialize("knn_model", first=DAY).success
        store = place.models.open()
        notes = store.load(store.versions()[-1].version)[1].notes
    assert "labels: Kepler 0.9.2 all components, dynamic" in notes
    assert any(note.startswith("labels: pods add up to 1.9") for note in notes)


def doubled(rows: JoinedRows) -> JoinedRows:
    return replace(rows, labels=pl.concat([rows.labels, rows.labels[:1]]), spec=pl.concat([rows.spec, rows.spec[:1]]))


def invented(rows: JoinedRows) -> JoinedRows:
    return replace(rows, labels=rows.labels.with_columns(pl.col("ts") + 1.0))


@pytest.mark.parametrize(
    ("defect", "values"), [(doubled, ("repeated", 1)), (invented, ("repeated", 0))], ids=["a row twice", "other times"]
)
def test_rows_that_are_not_one_a_label_are_found_as_they_are_stored(
    made: Place,
    monkeypatch: pytest.MonkeyPatch,
    defect: Callable[[JoinedRows], JoinedRows],
    values: tuple[str, int],
) -> None:
    kept = made.tables.read("training_rows", HOURS[0])
    assert kept is not None
    monkeypatch.setattr(
        "podpower_assets.training_rows.assets.join_rows", lambda features, labels: defect(join_rows(features, labels))
    )
    try:
        result = made.materialize("training_rows", first=HOURS[0])
    finally:
        made.tables.write("training_rows", HOURS[0], kept)
    [failed] = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert failed.check_name == "one_row_a_label"
    assert failed.metadata[values[0]].value == values[1]
    steps = int(kept["ts"].is_not_null().sum())  # runs have no time of their own
    assert failed.metadata["without_label"].value == (0 if defect is doubled else steps)
    assert not result.success


def test_rows_of_a_good_join_pass(made: Place) -> None:
    result = made.materialize("training_rows", first=HOURS[0])
    [check] = [e for e in result.get_asset_check_evaluations() if e.check_name == "one_row_a_label"]
    rows = made.tables.read("training_rows", HOURS[0])
    assert rows is not None
    assert check.passed
    assert check.metadata["rows"].value == len(rows) > 0


@pytest.mark.parametrize(
    ("begins_s", "incomplete"),
    [(START_S, ""), (START_S + 1800.0, "30 minutes without a known label")],
    ids=["whole", "half"],
)
def test_labels_record_that_the_source_may_have_more_of_an_hour(
    tmp_path: Path, begins_s: float, incomplete: str
) -> None:
    simulate(tmp_path / "recording", seed=3, start_s=begins_s, hours=1, workloads=3)
    with dg.DagsterInstance.ephemeral() as instance:
        place = Place(instance, tmp_path / "recording", tmp_path)
        assert place.materialize("workload_specs", "kepler_labels", first=HOURS[0]).success
        [made] = recorded(instance, dg.AssetKey("kepler_labels"), [HOURS[0]]).values()
        assert made.incomplete == incomplete
