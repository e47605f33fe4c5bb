"""Each partition of a run stands alone: its table, its record, its checks, its failure."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import polars as pl
import pytest

from podpower.checks import CheckResult
from podpower.errors import InvalidInput, Unavailable
from podpower_assets.checks import check_specs
from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.resources import Tables
from podpower_assets.upstream import Upstream
from podpower_assets.versions import recorded
from tests.assets.conftest import HOURS, PARTITIONS, QUIET, Place

TABLE = pl.DataFrame({"watts": [1.0, 2.0]})
MEASURED, SUMMED = dg.AssetKey("measured"), dg.AssetKey("summed")
Make = Callable[[str], Partition]


def number_of(hour: str) -> Partition:
    number = HOURS.index(hour)
    return Partition(table=TABLE[: number + 1], metadata={"number": number})


def checked(hour: str) -> Partition:
    number = HOURS.index(hour)
    checks = (
        CheckResult(name="even", passed=number % 2 == 0),
        CheckResult(name="first", passed=number == 0, warning=True),
    )
    return Partition(table=TABLE, checks=lambda: checks)


def hourly(key: dg.AssetKey, make: Make, upstream: Upstream, *, checks: bool = False) -> dg.AssetsDefinition:
    blocking, warning = {"even": "An even hour."}, {"first": "The first hour."}
    specs = check_specs(key, PARTITIONS.hours, blocking=blocking, warning=warning) if checks else []

    @dg.asset(key=key, partitions_def=PARTITIONS.hours, deps=upstream.same, check_specs=specs, code_version="1")
    def asset(context: dg.AssetExecutionContext, tables: Tables) -> Iterator[Any]:
        yield from per_partition(context, tables, upstream, make)

    return asset


def run(place: Place, make: Make, *, hours: int = 2, checks: bool = False) -> dg.ExecuteInProcessResult:
    """One run of two assets, the second made from the first."""
    measured = hourly(MEASURED, make, Upstream(), checks=checks)
    summed = hourly(SUMMED, lambda hour: Partition(table=TABLE), Upstream(same=(MEASURED,)))
    return dg.materialize(
        [measured, summed],
        instance=place.instance,
        tags={"dagster/asset_partition_range_start": HOURS[0], "dagster/asset_partition_range_end": HOURS[hours - 1]},
        resources={"tables": place.tables},
        raise_on_error=False,
        run_config=QUIET,
    )


def failing(hour: str, error: Exception) -> Make:
    def make(one: str) -> Partition:
        if one == hour:
            raise error
        return number_of(one)

    return make


def records(place: Place, key: dg.AssetKey) -> dict[str, Any]:
    return recorded(place.instance, key, HOURS)


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    return [str(e.event_specific_data.error) for e in result.all_events if e.is_step_failure]


def test_each_partition_has_its_table_its_metadata_and_is_recorded_once(place: Place) -> None:
    result = run(place, number_of)
    assert result.success
    made = list(result.asset_materializations_for_node("measured"))
    assert [e.partition for e in made] == HOURS[:2]
    assert [e.metadata["number"].value for e in made] == [0, 1]
    assert [e.metadata["dagster/row_count"].value for e in made] == [1, 2]
    for number, hour in enumerate(HOURS[:2]):
        table = place.tables.read("measured", hour)
        assert table is not None
        assert len(table) == number + 1


def test_the_same_content_has_the_same_version_and_other_content_another(place: Place) -> None:
    run(place, number_of)
    first = records(place, MEASURED)
    run(place, number_of)
    again = records(place, MEASURED)
    assert {h: r.version for h, r in first.items()} == {h: r.version for h, r in again.items()}
    assert first[HOURS[0]].version != first[HOURS[1]].version
    assert first[HOURS[0]].storage_id != again[HOURS[0]].storage_id


def test_what_was_consumed_is_recorded(place: Place) -> None:
    run(place, number_of)
    measured, summed = records(place, MEASURED), records(place, SUMMED)
    for hour in HOURS[:2]:
        assert summed[hour].consumed == {"measured": {hour: measured[hour].version}}
        verdict = place.tables.verdict("summed", hour)
        assert verdict is not None
        assert verdict.consumed == summed[hour].consumed


@pytest.mark.parametrize("error", [ValueError("a defect"), InvalidInput("bad hour")], ids=["defect", "bad input"])
@pytest.mark.parametrize("broken", [0, 1], ids=["the first", "the last"])
def test_a_failed_partition_fails_the_run_by_its_name_and_no_other_partition(
    place: Place, broken: int, error: Exception
) -> None:
    result = run(place, failing(HOURS[broken], error))
    left = [HOURS[1 - broken]]
    assert not result.success
    assert place.tables.partitions("measured") == place.tables.partitions("summed") == left
    assert list(records(place, SUMMED)) == left
    [failure] = failures(result)
    assert f"1 of 2 partitions of summed failed: {HOURS[broken]}: measured failed: {error}" in failure


def test_a_partition_made_after_a_failure_is_no_longer_failed(place: Place) -> None:
    run(place, failing(HOURS[1], ValueError("a defect")))
    assert run(place, number_of).success
    assert place.tables.partitions("summed") == HOURS[:2]


def test_every_partition_has_results_of_its_checks_and_a_failed_one_is_left_out_downstream(place: Place) -> None:
    result = run(place, checked, checks=True)
    assert result.success
    found = {(e.check_name, e.partition): e.passed for e in result.get_asset_check_evaluations()}
    assert found == {
        ("even", HOURS[0]): True, ("even", HOURS[1]): False, ("first", HOURS[0]): True, ("first", HOURS[1]): False,
    }  # fmt: skip
    assert place.tables.partitions("measured") == HOURS[:2]
    assert place.tables.partitions("summed") == HOURS[:1]
    storage = place.instance.event_log_storage
    keys = [dg.AssetCheckKey(MEASURED, name) for name in ("even", "first")]
    stored = {(i.check_key.name, i.partition_key): i for i in storage.get_asset_check_partition_info(keys)}
    assert set(stored) == set(found)
    assert all(
        i.latest_target_materialization_storage_id == i.latest_materialization_storage_id for i in stored.values()
    )


def test_a_failed_check_of_a_single_partition_stops_the_run(place: Place) -> None:
    result = run(place, lambda hour: Partition(table=TABLE, checks=lambda: [CheckResult(name="even", passed=False)]),
                 hours=1, checks=True)  # fmt: skip
    assert not result.success
    assert place.tables.partitions("summed") == []


def test_what_becomes_available_is_waited_for_and_what_was_made_is_not_made_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podpower_assets.policies._RETRY_SECONDS", 0)
    tried: list[str] = []

    def make(hour: str) -> Partition:
        tried.append(hour)
        if hour == HOURS[1] and tried.count(hour) == 1:
            raise Unavailable("nobody answers")
        return number_of(hour)

    assert run(place, make).success
    assert tried == [HOURS[0], HOURS[1], HOURS[1]]
    assert list(records(place, SUMMED)) == HOURS[:2]


def test_what_stays_away_fails_its_partition_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podpower_assets.policies.MAX_RETRIES", 0)
    result = run(place, failing(HOURS[0], Unavailable("nobody answers")))
    assert not result.success
    assert place.tables.partitions("summed") == HOURS[1:2]


def test_a_killed_run_keeps_what_it_made(place: Place) -> None:
    def make(hour: str) -> Partition:
        if hour == HOURS[1]:
            raise SystemExit("killed")
        return number_of(hour)

    assert not run(place, make).success
    assert list(records(place, MEASURED)) == place.tables.partitions("measured") == HOURS[:1]
