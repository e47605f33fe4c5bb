"""Each day the model of the day before is held against what was measured since, and drift asks for a new one."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import dagster as dg
import polars as pl
import pytest

from podpower.evaluation.checks import CALIBRATED, ERRORS, SPECS
from podpower.registry.store import ModelStore
from podpower.simulation import simulate
from podpower_assets.model.sensors import CHECKS, drifted
from podpower_assets.partitions import day_key, hours_between
from tests.assets.conftest import DEFS, HOURLY, Place

START_S = 1767301200.0  # 2026-01-01T21:00:00Z: three hours of one day, three of the next
MIDNIGHT_S = START_S + 3 * 3600
EVE, DAY = "2026-01-01", "2026-01-02"
HOURS = hours_between(START_S, START_S + 6 * 3600)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two-days") / "recording"
    simulate(root, seed=6, start_s=START_S, hours=6, workloads=24)
    return root


@pytest.fixture(scope="module")
def place(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with dg.DagsterInstance.ephemeral() as instance:
        place = Place(instance, recorded, tmp_path_factory.mktemp("evaluated"))
        assert place.materialize(*HOURLY, first=HOURS[0], last=HOURS[-1]).success
        assert place.materialize("knn_model", first=EVE).success
        [candidate] = place.models.open().versions()
        serve(place, candidate.version, at_s=MIDNIGHT_S - 60.0)
        yield place


def serve(place: Place, version: str, *, at_s: float) -> None:
    ModelStore(place.models.root, clock=lambda: datetime.fromtimestamp(at_s, UTC)).promote(version)


def evaluated(place: Place) -> dg.ExecuteInProcessResult:
    result = place.materialize("model_evaluation", first=DAY)
    assert result.success
    return result


def outcome(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def look(
    place: Place, cursor: str | None = None, *, now_s: float = MIDNIGHT_S + 25 * 3600
) -> dg.SensorResult | dg.SkipReason:
    """One tick, by default early on the day after DAY."""
    context = dg.build_sensor_context(instance=place.instance, cursor=cursor)
    with mock.patch("podpower_assets.model.sensors.time.time", return_value=now_s):
        result = drifted(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_what_was_served_is_scored_on_this_day(place: Place) -> None:
    result = evaluated(place)
    assert outcome(result)[SPECS]
    [event] = result.asset_materializations_for_node("model_evaluation")
    told = event.metadata
    assert told["versions"].value == place.models.open().served()
    assert {"served_model_wape", "served_model_coverage", "unseen_workloads_log_r2", "ablation"} <= set(told)
    assert str(told["verdict"].value).startswith("- served model: ")
    assert str(told["report"].value) == f"{place.models.api_url}/evaluations/{DAY}"
    page = Path(str(told["page"].value)).read_text()
    assert "Served model" in page
    assert "Unseen workloads" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_day_that_is_like_the_one_before_requests_nothing(place: Place) -> None:
    found = outcome(evaluated(place))
    assert (found[ERRORS], found[SPECS]) == (True, True)
    assert isinstance(look(place), dg.SkipReason)


def test_workloads_that_draw_something_else_request_a_new_model_once(place: Place) -> None:
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
        assert request.partition_key == day_key(MIDNIGHT_S + 25 * 3600)
        assert request.tags["podpower/drift"] == ERRORS
        assert isinstance(look(place, asked.cursor), dg.SkipReason)
        # Neither an evaluation of an old day, made later, nor one that ended long ago decides.
        old = place.materialize("model_evaluation", first=EVE)
        assert not outcome(old)[ERRORS]
        [again] = look(place).run_requests or []  # type: ignore[union-attr]
        assert again.run_key == request.run_key
        assert isinstance(look(place, now_s=MIDNIGHT_S + 10 * 86_400), dg.SkipReason)
    finally:
        for hour, rows in kept.items():
            assert rows is not None
            place.tables.write("training_rows", hour, rows)


def test_a_day_on_which_nothing_was_served_does_not_pass_and_requests_nothing(place: Place) -> None:
    """The first version was served one minute before midnight, after the last label of the day."""
    before = place.instance.event_log_storage.get_latest_asset_check_execution_by_key(list(CHECKS))
    cursor = str(max(record.id for record in before.values()) if before else 0)
    result = place.materialize("model_evaluation", first="2026-01-01")
    assert result.success
    assert outcome(result) == {ERRORS: False, SPECS: False, CALIBRATED: False}
    for check in result.get_asset_check_evaluations():
        assert "nothing was measured: served model: " in str(check.description)
        assert check.severity == dg.AssetCheckSeverity.WARN
    assert isinstance(look(place, cursor), dg.SkipReason)


def test_a_candidate_that_fails_its_checks_does_not_stop_the_evaluation() -> None:
    asset = DEFS.resolve_asset_graph().get(dg.AssetKey("model_evaluation"))
    assert {key.to_user_string() for key in asset.parent_keys} == {"training_rows"}
    jobs = {job.name: {key.to_user_string() for key in job.asset_layer.executable_asset_keys} for job in
            (DEFS.resolve_job_def(name) for name in ("finished_day", "served_day"))}  # fmt: skip
    assert jobs == {"finished_day": {"knn_model", "promoted_model"}, "served_day": {"model_evaluation"}}
