"""Each day the model of the day before is held against what was measured since, and drift asks for a new one."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from podpower.simulation import simulate
from podpower_assets.model.evaluation import ERRORS, SPECS
from podpower_assets.model.sensors import drifted
from podpower_assets.partitions import day_key, hours_between
from tests.assets.conftest import HOURLY, Place

START_S = 1767301200.0  # 2026-01-01T21:00:00Z: three hours of one day, three of the next
EVE, DAY = "2026-01-01", "2026-01-02"
HOURS = hours_between(START_S, START_S + 6 * 3600)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two-days") / "recording"
    simulate(root, seed=6, start_s=START_S, hours=6, workloads=24)
    return root


@pytest.fixture(scope="module")
def place(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with dg.instance_for_test() as instance:
        place = Place(instance, recorded, tmp_path_factory.mktemp("evaluated"))
        assert place.materialize(*HOURLY, first=HOURS[0], last=HOURS[-1]).success
        assert place.materialize("knn_model", "promoted_model", first=EVE).success
        yield place


def evaluated(place: Place) -> dg.ExecuteInProcessResult:
    result = place.materialize("model_evaluation", first=DAY)
    assert result.success
    return result


def outcome(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def look(place: Place, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=place.instance, cursor=cursor)
    result = drifted(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_the_model_of_the_day_before_is_scored_on_this_day(place: Place) -> None:
    result = evaluated(place)
    assert outcome(result)[SPECS]
    [event] = result.asset_materializations_for_node("model_evaluation")
    told = event.metadata
    assert {"day_after_wape", "day_after_coverage", "unseen_workloads_log_r2", "ablation"} <= set(told)
    page = Path(str(told["report"].value)).read_text()
    assert "Day after" in page
    assert "Unseen workloads" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_day_that_is_like_the_one_before_asks_for_nothing(place: Place) -> None:
    if all(outcome(evaluated(place)).values()):
        assert isinstance(look(place), dg.SkipReason)


def test_workloads_that_draw_something_else_ask_for_a_new_model_once(place: Place) -> None:
    kept = {hour: place.tables.read("training_rows", hour) for hour in HOURS[3:]}
    try:
        for hour, rows in kept.items():
            assert rows is not None
            place.tables.write("training_rows", hour, rows.with_columns(pl.col("avg_power_w", "energy_step_j") * 5))
        assert not outcome(evaluated(place))[ERRORS]
        asked = look(place)
        assert isinstance(asked, dg.SensorResult)
        assert asked.run_requests is not None
        [request] = asked.run_requests
        assert request.partition_key == day_key(time.time())
        assert request.tags["podpower/drift"] == ERRORS
        assert isinstance(look(place, asked.cursor), dg.SkipReason)
    finally:
        for hour, rows in kept.items():
            assert rows is not None
            place.tables.write("training_rows", hour, rows)


def test_without_a_model_of_the_day_before_that_is_said(place: Place) -> None:
    result = place.materialize("model_evaluation", first=EVE)
    assert result.success
    [event] = result.asset_materializations_for_node("model_evaluation")
    assert "no model of the day before" in str(event.metadata["notes"].value)
