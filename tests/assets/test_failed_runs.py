"""What a failed run left undone is requested again, at most every quarter of an hour."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from podpower_assets.partitions import hour_start_s, range_tags
from tests.assets.conftest import ASSETS, DAY, DEFS, HOURLY, HOURS, Place

NOON = datetime(2026, 1, 1, 12, 3, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def requested(place: Place, at: datetime, cursor: object = None) -> tuple[dict[str, set[str | None]], object]:
    result = dg.evaluate_automation_conditions(defs=DEFS, instance=place.instance, cursor=cursor, evaluation_time=at)
    keys = {asset.key: result.get_requested_partitions(asset.key) for asset in ASSETS}
    return {key.to_user_string(): set(partitions) for key, partitions in keys.items() if partitions}, result.cursor


def test_hours_of_a_failed_run_are_requested_again_until_one_succeeds(place: Place) -> None:
    _, cursor = requested(place, NOON)
    assert not place.materialize("features", first=HOURS[0], last=HOURS[1]).success  # no encoder yet
    asked, cursor = requested(place, NOON + timedelta(minutes=1), cursor)
    assert "features" not in asked
    asked, cursor = requested(place, NOON + QUARTER, cursor)
    assert asked == {"features": set(HOURS[:2])}
    asked, cursor = requested(place, NOON + QUARTER + timedelta(minutes=1), cursor)
    assert "features" not in asked
    assert place.materialize(*HOURLY, first=HOURS[0], last=HOURS[1]).success
    asked, cursor = requested(place, NOON + 2 * QUARTER, cursor)
    assert "features" not in asked


@pytest.mark.parametrize("canceled", [True, False], ids=["canceled", "canceled, then made"])
def test_hours_of_a_canceled_run_are_requested_again(place: Place, canceled: bool) -> None:
    assert place.materialize("workload_specs", "encoder", first=HOURS[0]).success
    _, cursor = requested(place, NOON)
    names = ("workload_specs", "encoder")
    run = place.instance.create_run_for_job(
        DEFS.resolve_implicit_global_asset_job_def(),
        tags=range_tags(HOURS[0], HOURS[0]),
        asset_selection=frozenset(map(dg.AssetKey, names)),
    )
    place.instance.report_run_canceled(run)
    if not canceled:
        assert place.materialize(*names, first=HOURS[0]).success
    asked, _ = requested(place, NOON + QUARTER, cursor)
    assert {name: asked.get(name) for name in names} == (
        {"workload_specs": {HOURS[0]}, "encoder": {None}} if canceled else dict.fromkeys(names)
    )


def test_an_encoder_that_failed_is_requested_again(place: Place) -> None:
    _, cursor = requested(place, NOON)
    result = place.materialize("encoder", first=HOURS[0])  # no specs yet
    assert not result.success
    asked, _ = requested(place, NOON + QUARTER, cursor)
    assert asked == {"encoder": {None}}


def test_hours_before_the_training_window_are_left_to_whoever_requested_them(place: Place) -> None:
    _, cursor = requested(place, NOON)
    assert not place.materialize("features", first="2025-12-01-00:00").success
    later = datetime.fromtimestamp(hour_start_s("2025-12-01-00:00"), UTC) + timedelta(days=8)
    assert later < NOON
    assert requested(place, NOON + QUARTER, cursor)[0] == {}


def test_a_model_that_failed_its_check_is_not_trained_again_on_the_same_labels(
    made: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podpower.evaluation.checks._MIN_COVERAGE", 1.1)  # nothing covers as much
    _, cursor = requested(made, NOON)
    assert made.materialize("knn_model", first=DAY).success  # the candidate is rejected
    asked, _ = requested(made, NOON + QUARTER, cursor)
    assert "knn_model" not in asked
