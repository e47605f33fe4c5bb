"""Sums of an hour of the fleet, and of what was published."""

import polars as pl
import pytest

from podpower.fleet.checks import sums_add_up
from podpower.fleet.hours import CLUSTER, HOURS_SCHEMA, MOST_ROWS, NAMESPACE


def hour(*watts, cluster=10.0):
    rows = [{"level": CLUSTER, "cluster": "c", "measured_w": cluster, "predicted_w": None}]
    rows += [{"level": NAMESPACE, "cluster": "c", "namespace": f"n{i}", "measured_w": w} for i, w in enumerate(watts)]
    return pl.DataFrame(rows, schema=HOURS_SCHEMA)


@pytest.mark.parametrize(
    ("table", "passed"),
    [
        (hour(4.0, 6.0), True),
        (hour(4.0, 5.0), False),
        (hour(4.0, 7.0), False),
        (hour(cluster=None), True),
        (hour(*[0.001] * MOST_ROWS), True),
        (hour(*[0.1] * MOST_ROWS), False),
    ],
    ids=["equal", "less", "more", "nothing known", "more than listed", "more than listed, and too large"],
)
def test_namespaces_of_an_hour_add_up_to_its_clusters(table, passed):
    result = sums_add_up(table)
    assert result.passed is passed
    assert ("measured_w" in result.description) is not passed
