"""An evaluation of joules a step in watts, for people: the same errors in another unit."""

import msgspec

from podpower.evaluation.evaluate import EvaluationReport
from podpower.evaluation.results import PodResult, SplitReport
from podpower.evaluation.scores import Score


def in_watts(report: EvaluationReport) -> EvaluationReport:
    """Return the report in watts where its target is joules a step; others, such as joules of a run, as they are."""
    if report.target != "energy_step_j" or report.step_seconds <= 0:
        return report
    factor = 1.0 / report.step_seconds
    return msgspec.structs.replace(report, unit="W", splits=[_split(split, factor) for split in report.splits])


def _split(split: SplitReport, factor: float) -> SplitReport:
    def scores(of: dict[str, Score]) -> dict[str, Score]:
        return {name: _score(score, factor) for name, score in of.items()}

    return msgspec.structs.replace(
        split,
        scores=scores(split.scores),
        by_basis=scores(split.by_basis),
        by_kind=scores(split.by_kind),
        by_namespace=scores(split.by_namespace),
        by_time=scores(split.by_time),
        ablation=scores(split.ablation),
        pods=[_pod(pod, factor) for pod in split.pods],
        baselines={name: [_times(value, factor) for value in values] for name, values in split.baselines.items()},
    )


def _score(score: Score, factor: float) -> Score:
    return msgspec.structs.replace(score, mae=_times(score.mae, factor))


def _pod(pod: PodResult, factor: float) -> PodResult:
    return msgspec.structs.replace(
        pod,
        measured=pod.measured * factor,
        predicted=pod.predicted * factor,
        low=_times(pod.low, factor),
        high=_times(pod.high, factor),
        bounds=[(low * factor, high * factor) for low, high in pod.bounds],
        expected=_times(pod.expected, factor),
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
