import json

import numpy as np
import polars as pl
import pytest

from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.evaluation import splits
from podpower.evaluation.baselines import BASELINES
from podpower.evaluation.evaluate import evaluate
from podpower.evaluation.names import FORWARD, STEPWISE, TRANSFER, UNSEEN
from podpower.evaluation.results import MODEL
from podpower.training.groups import linked_groups


@pytest.fixture(scope="module")
def report(rows):
    return evaluate(rows)


def split(report, name):
    return next(s for s in report.splits if s.name == name)


def test_each_split_scores_every_pod_beside_the_baselines(report):
    assert [s.name for s in report.splits] == [UNSEEN, FORWARD, STEPWISE]
    for s in report.splits[:2]:
        assert set(s.scores) == {MODEL, *BASELINES}
        assert {score.count for score in s.scores.values()} == {40}
        assert len(s.pods) == 40
        assert sum(score.count for score in s.by_basis.values()) == 40
    assert report.notes == [f"{TRANSFER}: the rows are of one cluster"]
    assert json.loads(json.dumps(report.to_dict()))["unit"] == "J"


def test_neighbours_predict_unseen_workloads_and_noise_forward_in_time_is_small(report):
    unseen = split(report, UNSEEN)
    assert unseen.scores[MODEL].log_r2 > 0.7
    assert unseen.scores[MODEL].wape < unseen.scores["constant"].wape
    assert unseen.folds == 40
    forward = split(report, FORWARD)
    assert forward.scores[MODEL].wape < 0.03
    assert set(forward.by_basis) == {"seen"}


def test_intervals_cover_about_their_level(report):
    assert 0.65 <= split(report, UNSEEN).scores[MODEL].coverage <= 0.97


def test_the_scores_are_those_of_the_table(report):
    s = split(report, UNSEEN)
    measured, predicted = (np.array([getattr(p, field) for p in s.pods]) for field in ("measured", "predicted"))
    assert s.scores[MODEL].wape == pytest.approx(np.abs(measured - predicted).sum() / measured.sum())
    residual, spread = np.log1p(measured) - np.log1p(predicted), np.log1p(measured) - np.log1p(measured).mean()
    assert s.scores[MODEL].log_r2 == pytest.approx(1 - (residual @ residual) / (spread @ spread))
    assert s.scores[MODEL].mae == pytest.approx(np.abs(measured - predicted).mean())
    inside = [p.low <= p.measured <= p.high for p in s.pods]
    assert s.scores[MODEL].coverage == pytest.approx(np.mean(inside))


def test_an_unseen_workload_is_never_answered_from_its_own_labels(report, make_rows):
    """Twins that share a spec are left out together, so neither is "seen"."""
    assert "seen" not in split(report, UNSEEN).by_basis
    rows = make_rows(workloads=12)
    twins = rows.filter(pl.col("workload_name") == "w0").with_columns(
        workload_name=pl.lit("twin"), pod=pl.lit("twin-0")
    )
    twinned = split(evaluate(pl.concat([rows, twins])), UNSEEN)
    assert "seen" not in twinned.by_basis
    assert twinned.folds == 12
    assert len(twinned.pods) == 13


def test_random_labels_are_not_predicted_well(make_rows):
    """A leak would show as skill where there is none to have."""
    rng = np.random.default_rng(7)
    report = evaluate(make_rows(workloads=40, watts=np.exp(rng.normal(size=40) * 2)))
    assert split(report, UNSEEN).scores[MODEL].log_r2 < 0.15


def test_many_workloads_are_left_out_in_folds(rows, monkeypatch):
    monkeypatch.setattr(splits, "MAX_LEFT_OUT", 10)
    unseen = split(evaluate(rows), UNSEEN)
    assert unseen.folds == splits.FOLDS
    assert len(unseen.pods) == 40


def test_a_part_of_the_rows_is_evaluated_as_if_it_were_all(rows):
    """Workloads that are not in the part do not shift what belongs to which."""
    late = pl.col("pod").is_in([f"w{n}-0" for n in range(20, 40)])
    part, alone = (evaluate(given, splits=(UNSEEN,)) for given in (TrainingSet.of(rows).where(late), rows.filter(late)))
    assert part.workloads == alone.workloads == 20
    assert part.split(UNSEEN) == alone.split(UNSEEN)


def test_of_very_many_workloads_enough_are_left_out(rows, monkeypatch):
    monkeypatch.setattr(splits, "MAX_LEFT_OUT", 10)
    monkeypatch.setattr(splits, "ENOUGH_PODS", 8)
    unseen = split(evaluate(rows), UNSEEN)
    assert unseen.extent == "2 of 10 folds"
    assert len(unseen.pods) == 8
    monkeypatch.setattr(splits, "ENOUGH_PODS", 2)  # of very many, a fold is no larger than it has to be
    unseen = split(evaluate(rows), UNSEEN)
    assert unseen.extent == "1 of 20 folds"
    assert len(unseen.pods) == 2


@pytest.mark.parametrize(
    ("workloads", "specs", "groups"),
    [
        ("abc", "xyz", [0, 1, 2]),
        ("aab", "xyz", [0, 0, 1]),
        ("abc", "xxz", [0, 0, 1]),
        ("abbc", "xxzz", [0, 0, 0, 0]),
    ],
    ids=["apart", "one workload", "one spec", "a chain"],
)
def test_groups_link_workloads_that_share_a_spec(workloads, specs, groups):
    assert linked_groups(list(workloads), list(specs)).tolist() == groups


def test_one_workload_has_none_to_leave_out(make_rows):
    report = evaluate(make_rows(workloads=1))
    assert UNSEEN not in [s.name for s in report.splits]
    assert "one workload only" in report.notes[0]


def test_labels_of_one_time_have_no_future(make_rows):
    report = evaluate(make_rows(workloads=5).filter(pl.col("ts") == 600.0))
    assert [s.name for s in report.splits] == [UNSEEN]
    assert "no future" in report.notes[0]


def test_a_first_half_of_zeros_is_noted_and_not_scored(make_rows):
    rows = make_rows(workloads=5).drop("avg_power_w")
    rows = rows.with_columns(energy_step_j=pl.when(pl.col("ts") <= 3600).then(0.0).otherwise("energy_step_j"))
    report = evaluate(rows, splits=(UNSEEN, FORWARD))
    assert [s.name for s in report.splits] == [UNSEEN]
    assert "all labels are zero" in report.notes[0]


def test_watts_and_joules_give_the_same_scores(rows, report):
    watts = split(evaluate(rows, target="avg_power_w"), UNSEEN)
    assert watts.scores[MODEL].wape == pytest.approx(split(report, UNSEEN).scores[MODEL].wape)
    assert watts.scores[MODEL].log_r2 == pytest.approx(split(report, UNSEEN).scores[MODEL].log_r2)
    assert watts.scores[MODEL].mae == pytest.approx(split(report, UNSEEN).scores[MODEL].mae / 60)


def test_jobs_are_scored_by_their_total(make_rows):
    jobs = (
        make_rows(workloads=20, hours=1)
        .drop("energy_step_j", "step_seconds")
        .rename({"ts": "start_s"})
        .with_columns(
            pod=pl.format("{}-{}", "pod", "start_s"), duration_s=pl.lit(50.0), total_energy_j=pl.col("avg_power_w") * 50
        )
    )
    report = evaluate(jobs, target="total_energy_j")
    assert split(report, FORWARD).scores[MODEL].wape < 0.05
    assert split(report, UNSEEN).scores[MODEL].log_r2 > 0.5
    assert split(report, UNSEEN).scores[MODEL].coverage is None


def test_rows_that_cannot_train_cannot_be_evaluated(make_rows):
    with pytest.raises(InvalidInput, match="all labels are zero"):
        evaluate(make_rows(workloads=2, watts=[0.0, 0.0]))
