"""Changes are carried downstream, whichever hour they were in; models follow for the latest day only."""

import dagster as dg
import pytest

from podpower.evaluation.checks import MODEL_CHECKS
from tests.assets.conftest import ASSETS, DEFS, PARTITIONS

OLD = PARTITIONS.hours.get_partition_keys()[-100]
TODAY = PARTITIONS.days.get_partition_keys()[-1]


def report(instance: dg.DagsterInstance, name: str, partition: str | None) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=name, partition=partition))


def requested(instance: dg.DagsterInstance, cursor: object = None) -> tuple[dict[str, set[str | None]], object]:
    result = dg.evaluate_automation_conditions(defs=DEFS, instance=instance, cursor=cursor)
    asked: dict[str, set[str | None]] = {}
    for asset in ASSETS:
        keys = result.get_requested_partitions(asset.key)
        if keys:
            asked[asset.key.to_user_string()] = set(keys)
    return asked, result.cursor


def test_an_empty_instance_requests_nothing() -> None:
    with dg.instance_for_test() as instance:
        asked, cursor = requested(instance)
        assert asked == {}
        assert requested(instance, cursor)[0] == {}


def test_a_corrected_old_hour_is_carried_down_to_the_rows_and_to_the_model_of_today() -> None:
    with dg.instance_for_test() as instance:
        _, cursor = requested(instance)
        report(instance, "encoder", None)
        report(instance, "workload_specs", OLD)
        report(instance, "features", OLD)
        asked, cursor = requested(instance, cursor)
        assert asked["kepler_labels"] == {OLD}
        report(instance, "kepler_labels", OLD)
        if "training_rows" not in asked:
            asked, cursor = requested(instance, cursor)
        assert asked["training_rows"] == {OLD}
        report(instance, "training_rows", OLD)
        asked, cursor = requested(instance, cursor)
        assert asked["knn_model"] == {TODAY}


def check(instance: dg.DagsterInstance, name: str, *, passed: bool) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=dg.AssetKey("knn_model"), check_name=name, passed=passed)
    )


@pytest.mark.parametrize(
    ("failed", "promoted"), [(None, True), *((name, False) for name in MODEL_CHECKS)], ids=["none", *MODEL_CHECKS]
)
def test_a_model_is_promoted_after_all_of_its_checks_passed(failed: str | None, promoted: bool) -> None:
    with dg.instance_for_test() as instance:
        _, cursor = requested(instance)
        report(instance, "knn_model", TODAY)
        for name in MODEL_CHECKS:
            check(instance, name, passed=name != failed)
        asked, _ = requested(instance, cursor)
        assert asked == ({"promoted_model": {TODAY}} if promoted else {})


def test_a_model_without_results_of_its_checks_is_not_promoted() -> None:
    with dg.instance_for_test() as instance:
        _, cursor = requested(instance)
        report(instance, "knn_model", TODAY)
        assert requested(instance, cursor)[0] == {}
