import polars as pl
import pytest

from podpower.datasets.checks import RowCounts, count_rows, most_labels_join, one_row_a_label
from podpower.datasets.join import JoinReport

LABELS = pl.DataFrame(
    {
        "cluster": ["a", "b", None, None],
        "namespace": ["shop"] * 4,
        "pod": ["web-1", "web-1", "web-2", "web-2"],
        "ts": [60.0, 60.0, 60.0, 120.0],
        "avg_power_w": [1.0, 2.0, 3.0, 4.0],
    }
)


def counted(rows, labels=LABELS):
    return count_rows(rows.lazy(), labels)


def test_rows_of_different_labels_are_counted():
    assert counted(LABELS[:3]) == RowCounts(rows=3, repeated=0, without_label=0)


def test_two_rows_of_one_label_are_found_also_without_a_cluster():
    assert counted(pl.concat([LABELS, LABELS[:1], LABELS[3:]])) == RowCounts(rows=6, repeated=2, without_label=0)


@pytest.mark.parametrize("column", ["pod", "ts", "cluster"])
def test_a_row_that_no_label_has_is_found(column):
    other = LABELS.with_columns(
        pl.when(pl.int_range(4) == 3).then(column_value(column)).otherwise(column).alias(column)
    )
    assert counted(other) == RowCounts(rows=4, repeated=0, without_label=1)


def column_value(column):
    return pl.lit(1e9) if column == "ts" else pl.lit("elsewhere")


def test_files_without_clusters_are_compared_without_them():
    assert counted(LABELS.drop("cluster")[2:]) == RowCounts(rows=2, repeated=0, without_label=0)


@pytest.mark.parametrize(
    ("counts", "passed"),
    [
        ([], True),
        ([RowCounts(rows=9, repeated=0, without_label=0)], True),
        ([RowCounts(rows=9, repeated=0, without_label=0), RowCounts(rows=9, repeated=1, without_label=0)], False),
        ([RowCounts(rows=9, repeated=0, without_label=1)], False),
    ],
)
def test_one_row_a_label_fails_for_one_row_too_many(counts, passed):
    assert one_row_a_label(counts).passed is passed


@pytest.mark.parametrize(("joined", "passed"), [(5, True), (4, False)])
def test_half_of_the_labels_must_join(joined, passed):
    reports = [JoinReport(labels=8, joined=joined, unjoined={"no_spec": 8 - joined}), JoinReport(labels=2, joined=0)]
    result = most_labels_join(reports)
    assert result.passed is passed
    assert result.warning
    assert result.values["unjoined"] == {"no_spec": 8 - joined}
