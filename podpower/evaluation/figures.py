"""Figures of an evaluation: the one place that names, explains and formats them.

`train`, `evaluate`, `models list`, the HTML report and Dagster show the same figure under the same name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from podpower.evaluation.results import SplitReport
    from podpower.evaluation.scores import Score

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


def _figure(key: str, name: str, meaning: str, form: Callable[[float], str]) -> Figure:
    """Return the figure of the attribute `key` of a score."""
    return Figure(key=key, name=name, meaning=meaning, value=attrgetter(key), format=form)


WAPE: Final = _figure(
    "wape", "WAPE", "sum of absolute errors over sum of labels: ruled by the pods that draw most", _places(3)
)
LOG_R2: Final = _figure(
    "log_r2",
    "log R2",
    "R2 of the logarithm: large and small pods count alike; 0 is a constant, 1 is right",
    _places(2),
)
RANK: Final = _figure(
    "rank_correlation", "rank corr.", "Spearman's rank correlation: 1 where the order is right", _places(2)
)
MEDIAN_ERROR: Final = _figure(
    "mdape", "median rel. error", "median of relative errors where the label is above zero", percent
)
MAE: Final = _figure("mae", "MAE", "mean absolute error", _of_unit)
R2: Final = _figure("r2", "R2", "R2 in the unit itself", _places(2))
SUM: Final = _figure("total_ratio", "sum", "sum of expected values over sum of labels", _places(2))
COVERAGE: Final = coverage(0.8)
WIDTH: Final = _figure(
    "interval_factor",
    "interval",
    "high end of the 80% interval over its low end, median",
    lambda value: f"x {value:.3g}",
)
PODS: Final = _figure("count", "pods", "held-out pods", lambda value: f"{value:d}")
# What is kept of a split beside a model, and shown in lists of models.
KEPT: Final = (WAPE, LOG_R2, RANK, MEDIAN_ERROR, MAE, SUM, COVERAGE, PODS)
LISTED: Final = (WAPE, LOG_R2, SUM, COVERAGE)


def score_columns(levels: Sequence[float]) -> tuple[Figure, ...]:
    """Return the figures of a table of scores whose intervals have these levels."""
    return WAPE, LOG_R2, RANK, MEDIAN_ERROR, MAE, SUM, *(coverage(level) for level in levels), PODS


def kept_figures(splits: "Iterable[SplitReport]") -> dict[str, dict[str, float]]:
    """Return the known figures of the model by split and key: what an artifact and a manifest keep."""
    return {
        split.name: {figure.key: value for figure in KEPT if (value := figure.value(split.own)) is not None}
        for split in splits
    }


def kept_figure(metrics: Mapping[str, Any], split: str, figure: Figure) -> str:
    """Return a figure that is kept among the metrics of a model as text; "-" where it is not."""
    return figure.text(kept_value(metrics, split, figure))


def kept_value(metrics: Mapping[str, Any], split: str, figure: Figure) -> float | None:
    """Return a figure that is kept among the metrics of a model; None where it is not."""
    try:
        values = msgspec.convert(metrics.get(EVALUATION) or {}, dict[str, dict[str, float]])
    except msgspec.ValidationError:  # of an artifact that another version wrote
        return None
    return values.get(split, {}).get(figure.key)
