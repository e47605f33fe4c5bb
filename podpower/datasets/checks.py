"""Checks of training rows, as they are stored, against the labels that they were joined from."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from podpower.checks import CheckResult, summed
from podpower.datasets.join import JoinReport

ONE_ROW_A_LABEL, MOST_LABELS_JOIN = "one_row_a_label", "most_labels_join"
MIN_JOINED_SHARE = 0.5
_KEY = ("cluster", "namespace", "pod", "pod_uid", "ts")  # a run has a null `ts`


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """Stored rows: how many there are, repeat the label of another row, and have no label."""

    rows: int
    repeated: int
    without_label: int


def count_rows(rows: pl.LazyFrame, labels: pl.DataFrame) -> RowCounts:
    """Count stored rows by their labels; the table is read as far as its keys."""
    columns = rows.collect_schema().names()
    key = [column for column in _KEY if column in columns and column in labels.columns]
    stored = rows.select(key).collect()
    distinct = stored.unique()
    known = distinct.join(labels.select(key).unique(), on=key, how="semi", nulls_equal=True)
    return RowCounts(rows=len(stored), repeated=len(stored) - len(distinct), without_label=len(distinct) - len(known))


def one_row_a_label(counts: Sequence[RowCounts]) -> CheckResult:
    """Check that every stored row has a label, and no two rows have the same."""
    repeated, without = sum(c.repeated for c in counts), sum(c.without_label for c in counts)
    return CheckResult(
        name=ONE_ROW_A_LABEL,
        passed=repeated == 0 and without == 0,
        values={"rows": sum(c.rows for c in counts), "repeated": repeated, "without_label": without},
    )


def most_labels_join(reports: Sequence[JoinReport]) -> CheckResult:
    """At least half of the labels have a spec; the reasons of the others are counted."""
    labels, joined = sum(report.labels for report in reports), sum(report.joined for report in reports)
    return CheckResult(
        name=MOST_LABELS_JOIN,
        passed=joined >= MIN_JOINED_SHARE * labels,
        values={"labels": labels, "joined": joined, "unjoined": summed(report.unjoined for report in reports)},
        warning=True,
    )
