"""Answers that have more than one prediction; fields as in the HTTP API."""

from collections.abc import Sequence
from typing import Any

import msgspec

from podpower.difference.changes import Change, Difference, Totals
from podpower.impact.assessment import Inputs
from podpower.model.predictor import Prediction, Total
from podpower.specs.documents import Rejected
from podpower.specs.selection import Skipped


class RowError(msgspec.Struct, kw_only=True, frozen=True):
    """A row or document that could not be read; `index` counts from 0, `detail` is the correction."""

    index: int
    detail: str


class Batch(msgspec.Struct, kw_only=True, frozen=True):
    """Predictions in the order of the input, skipped objects with the reason, errors, the sums, and what these rest on
    (scope, price, carbon intensity with its source).
    """

    predictions: list[Prediction]
    skipped: list[Skipped]
    errors: list[RowError]
    total: Total
    inputs: dict[str, Any]


class SideError(RowError, kw_only=True, frozen=True):
    """A row or document of one side that could not be read."""

    side: str


class DifferenceAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Changed workloads, the largest first; sums of both sides and their difference; how many are unchanged; objects
    that could not be read; and what the figures rest on.
    """

    changes: list[Change]
    total: Totals
    unchanged: int
    errors: list[SideError]
    inputs: dict[str, Any]


class Line(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One line of a streamed answer; it has one of these. `index` is the row of the body, counted from 0."""

    index: int | None = None
    prediction: Prediction | None = None
    error: RowError | None = None
    skipped: Skipped | None = None
    total: Total | None = None


def difference_answer(
    found: Difference, *, old: Sequence[Rejected], new: Sequence[Rejected], inputs: Inputs
) -> DifferenceAnswer:
    """Return a difference as the HTTP API answers it. `old` and `new` are what could not be read on each side."""
    return DifferenceAnswer(
        changes=list(found.changes),
        total=found.total,
        unchanged=found.unchanged,
        errors=[
            SideError(side=side, index=entry.index, detail=entry.detail)
            for side, errors in (("old", old), ("new", new))
            for entry in errors
        ],
        inputs=inputs.described(),
    )
