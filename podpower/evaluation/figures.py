"""Figures of an evaluation: the one place that names, explains and formats them.

`train`, `evaluate`, `models list`, the HTML report and Dagster show the same figure under the same name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from podpower.evaluation.evaluate import EvaluationReport, Score

EVALUATION: Final = "evaluation"  # key of the figures among a model's metrics
UNKNOWN: Final = "-"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: its `key` in JSON and metadata, its `name` and `meaning` for readers, and its value in a score."""

    key: str
    name: str
    meaning: str
    value: "Callable[[Score], float | None]"
    format: Callable[[float], str]

    def of(self, score: "Score") -> str:
        """Return the figure of a score as text."""
        return self.text(self.value(score))

    def text(self, value: float | None) -> str:
        """Return a value as text; "-" where it is unknown."""
        return UNKNOWN if value is None or value != value else self.format(value)  # noqa: PLR0124  # NaN


def _places(count: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{count}f}"


def percent(value: float) -> str:
    """Return a share as a whole percentage."""
    return f"{value:.0%}"


def _of_unit(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"


def coverage(level: float) -> Figure:
    """Return the figure of the intervals of one level."""
    name = f"{level:g}"
    return Figure(
        key="coverage" if name == "0.8" else f"coverage_{name}",
        name=f"in {level:.0%}",
        meaning=f"share of labels inside their {level:.0%} interval; each workload counts once",
        value=lambda score: score.coverages.get(name, score.coverage if name == "0.8" else None),
        format=percent,
    )


WAPE: Final = Figure(
    key="wape",
    name="WAPE",
    meaning="sum of absolute errors over sum of labels: ruled by the pods that draw most",
    value=lambda score: score.wape,
    format=_places(3),
)
LOG_R2: Final = Figure(
    key="log_r2",
    name="log R2",
    meaning="R2 of the logarithm: large and small pods count alike; 0 is a constant, 1 is right",
    value=lambda score: score.log_r2,
    format=_places(2),
)
RANK: Final = Figure(
    key="rank_correlation",
    name="rank corr.",
    meaning="Spearman's rank correlation: 1 where the order is right",
    value=lambda score: score.rank_correlation,
    format=_places(2),
)
MEDIAN_ERROR: Final = Figure(
    key="mdape",
    name="median rel. error",
    meaning="median of relative errors where the label is above zero",
    value=lambda score: score.mdape,
    format=percent,
)
MAE: Final = Figure(
    key="mae", name="MAE", meaning="mean absolute error", value=lambda score: score.mae, format=_of_unit
)
R2: Final = Figure(
    key="r2", name="R2", meaning="R2 in the unit itself", value=lambda score: score.r2, format=_places(2)
)
SUM: Final = Figure(
    key="total_ratio",
    name="sum",
    meaning="sum of expected values over sum of labels",
    value=lambda score: score.total_ratio,
    format=_places(2),
)
COVERAGE: Final = coverage(0.8)
WIDTH: Final = Figure(
    key="interval_factor",
    name="interval",
    meaning="high end of the 80% interval over its low end, median",
    value=lambda score: score.interval_factor,
    format=lambda value: f"x {value:.3g}",
)
PODS: Final = Figure(
    key="count",
    name="pods",
    meaning="held-out pods",
    value=lambda score: score.count,
    format=lambda value: f"{value:d}",
)
# What is kept of a split beside a model, and shown in lists of models.
KEPT: Final = (WAPE, LOG_R2, RANK, MEDIAN_ERROR, MAE, SUM, COVERAGE, PODS)
LISTED: Final = (WAPE, LOG_R2, SUM, COVERAGE)


def score_columns(levels: Sequence[float]) -> tuple[Figure, ...]:
    """Return the figures of a table of scores whose intervals have these levels."""
    return WAPE, LOG_R2, RANK, MEDIAN_ERROR, MAE, SUM, *(coverage(level) for level in levels), PODS


def kept_figures(report: "EvaluationReport | None") -> dict[str, dict[str, float]]:
    """Return the known figures of the model by split and key: what an artifact and a manifest keep."""
    return {
        split.name: {figure.key: value for figure in KEPT if (value := figure.value(split.own)) is not None}
        for split in (report.splits if report else ())
    }


def kept_figure(metrics: Mapping[str, Any], split: str, figure: Figure) -> str:
    """Return a figure that is kept among the metrics of a model as text; "-" where it is not."""
    try:
        values = msgspec.convert(metrics.get(EVALUATION) or {}, dict[str, dict[str, float]])
    except msgspec.ValidationError:  # of an artifact that another version wrote
        return UNKNOWN
    return figure.text(values.get(split, {}).get(figure.key))
