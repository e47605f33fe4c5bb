"""A candidate is compared with the served model on labels that the latter does not know, whenever both were trained."""

from collections.abc import Callable

import polars as pl
import pytest

from podpower.datasets.training_set import TrainingSet
from podpower.evaluation.champion import Champion, ChampionComparison, compare_with_champion
from podpower.evaluation.quarantine import find_quarantined
from podpower.model.knn import KnnModel
from podpower.training.train import train

HOUR_S, MINUTE_S = 3600.0, 60.0
ROLLED_OUT_S = HOUR_S + 50 * MINUTE_S


@pytest.fixture(scope="module")
def rows(make_rows: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    """Twelve workloads, a step a minute for two hours and a half; one gets a spec with twenty times its power."""
    steady = make_rows(workloads=12, hours=2.5, every_s=MINUTE_S)
    new = (pl.col("workload_name") == "w3") & (pl.col("ts") > ROLLED_OUT_S)
    factor = pl.when(new).then(20.0).otherwise(1.0)
    return steady.with_columns(
        pl.col("avg_power_w", "energy_step_j") * factor,
        pl.when(new).then(pl.lit("a" * 64)).otherwise("_spec_hash").alias("_spec_hash"),
    )


def compared(champion: KnnModel, rows: pl.DataFrame) -> tuple[KnnModel, ChampionComparison]:
    training_set = TrainingSet.of(rows)
    candidate = train(training_set)
    served = Champion(served="v1", version="v1", fitted=(None, champion))  # type: ignore[arg-type]  # not needed
    quarantine = find_quarantined(champion, training_set)
    found = compare_with_champion(
        served,
        candidate,
        training_set,
        quarantine=quarantine,
        reencode=None,  # type: ignore[arg-type]
    )
    return candidate, found


@pytest.mark.parametrize("minute", range(52, 68, 3))
def test_a_candidate_of_the_same_recipe_is_not_worse(rows: pl.DataFrame, minute: int) -> None:
    """The served model knows the first minutes of a spec, within ten that its labels end in."""
    end_s = HOUR_S + minute * MINUTE_S
    champion = train(rows.filter(pl.col("ts") <= end_s))
    for later_s in (6 * MINUTE_S, 11 * MINUTE_S, 17 * MINUTE_S):
        _, found = compared(champion, rows.filter(pl.col("ts") <= end_s + later_s))
        assert not found.worse, found.lines()
        for comparison in found.comparisons:
            assert abs(comparison.difference or 0.0) < 0.01, str(comparison)


def test_models_that_follow_each_other_are_promoted(rows: pl.DataFrame) -> None:
    """Six candidates in an hour at uneven times, each compared with the one before."""
    champion = train(rows.filter(pl.col("ts") <= HOUR_S + 31 * MINUTE_S))
    for minute in (38, 49, 57, 66, 75, 86):
        candidate, found = compared(champion, rows.filter(pl.col("ts") <= HOUR_S + minute * MINUTE_S))
        assert not found.worse, found.lines()
        champion = candidate


def test_labels_of_minutes_that_the_champion_partly_knows_are_not_held_out(rows: pl.DataFrame) -> None:
    """Two minutes later nothing begins after what it knows: only unknown workloads are compared."""
    champion = train(rows.filter(pl.col("ts") <= HOUR_S + 62 * MINUTE_S))
    _, found = compared(champion, rows.filter(pl.col("ts") <= HOUR_S + 64 * MINUTE_S))
    assert [comparison.question for comparison in found.comparisons] == ["unknown workloads"]
    assert "no labels are newer" in found.note
