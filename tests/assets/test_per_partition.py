"""Each partition of a run is written and described by itself, also where a later one fails."""

import dagster as dg
import polars as pl
import pytest

from podpower_assets.per_partition import Partition, per_partition
from podpower_assets.resources import Tables
from tests.assets.conftest import HOURS, PARTITIONS, Place

TABLE = pl.DataFrame({"watts": [1.0, 2.0]})


def materialize(place: Place, *, broken: str | None = None) -> tuple[dg.ExecuteInProcessResult, list[int]]:
    found: list[int] = []

    @dg.asset(name="measured", partitions_def=PARTITIONS.hours, backfill_policy=dg.BackfillPolicy.single_run())
    def measured(context: dg.AssetExecutionContext, tables: Tables) -> None:
        def make(hour: str) -> Partition[int]:
            if hour == broken:
                raise ValueError(hour)
            number = HOURS.index(hour)
            return Partition(table=TABLE[:number], metadata={"number": number}, found=number)

        found.extend(per_partition(context, tables, make))

    result = dg.materialize(
        [measured],
        instance=place.instance,
        tags={"dagster/asset_partition_range_start": HOURS[0], "dagster/asset_partition_range_end": HOURS[1]},
        resources={"tables": place.tables},
        raise_on_error=False,
    )
    return result, found


def test_each_partition_has_its_table_its_metadata_and_what_was_found(place: Place) -> None:
    result, found = materialize(place)
    assert found == [0, 1]
    events = {e.partition: e.metadata for e in result.asset_materializations_for_node("measured")}
    assert {hour: events[hour]["number"].value for hour in HOURS[:2]} == {HOURS[0]: 0, HOURS[1]: 1}
    assert {hour: events[hour]["dagster/row_count"].value for hour in HOURS[:2]} == {HOURS[0]: 0, HOURS[1]: 1}
    for number, hour in enumerate(HOURS[:2]):
        table = place.tables.read("measured", hour)
        assert table is not None
        assert len(table) == number


@pytest.mark.parametrize(("broken", "written"), [(0, []), (1, HOURS[:1])])
def test_partitions_before_a_failed_one_are_written(place: Place, broken: int, written: list[str]) -> None:
    result, _ = materialize(place, broken=HOURS[broken])
    assert not result.success
    assert place.tables.partitions("measured") == written
