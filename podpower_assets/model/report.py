"""Metadata of an evaluation: its figures, a small plot, its verdict, and scores beside the baselines."""

from typing import Any

from podpower.evaluation.evaluate import EvaluationReport
from podpower.evaluation.figures import COVERAGE, LISTED, LOG_R2, RANK, WAPE
from podpower.evaluation.results import SplitReport
from podpower_assets import metadata, sparklines

FIRST_FIGURES = (WAPE, LOG_R2, COVERAGE)  # three: what people look for, and what a narrow table has room for
_MORE_FIGURES = tuple(figure for figure in (*LISTED, RANK) if figure not in FIRST_FIGURES)


def first_metadata(report: EvaluationReport | None) -> dict[str, Any]:
    """Return three figures of the first split, which Dagster plots over the partitions, and the measured power of its
    pods as a small plot; nothing without a split.
    """
    if report is None or not report.splits:
        return {}
    split = report.splits[0]
    return _figures(split, FIRST_FIGURES) | {
        "measured": sparklines.distribution([pod.measured for pod in split.pods], unit=report.unit),
        "predicted": sparklines.distribution([pod.predicted for pod in split.pods], unit=report.unit),
    }


def report_metadata(report: EvaluationReport | None) -> dict[str, Any]:
    """Return the verdict, alarms, and a table of scores for each split; nothing without a report. Plots are in the
    report: as metadata they would be kept in Dagster's history.
    """
    known: dict[str, Any] = {}
    if report is None:
        return known
    known["verdict"] = metadata.bullets([str(verdict) for verdict in report.verdicts])
    if report.alarms:
        known["alarms"] = metadata.bullets(report.alarms)
    for split in report.splits:
        name = split.name.split()[0]  # unseen, time: the UI has little room for names
        known[f"{name}_scores"] = metadata.records(_score_rows(split))
    return known


def figures(report: EvaluationReport) -> dict[str, Any]:
    """Return the figures of the model for each split, and what each block of features is worth."""
    known: dict[str, Any] = {}
    for split in report.splits:
        known |= _figures(split, (*FIRST_FIGURES, *_MORE_FIGURES))
        if split.ablation:
            rows = [
                {"without": block, **{figure.name: figure.of(score) for figure in FIRST_FIGURES}}
                for block, score in split.ablation.items()
            ]
            known["ablation"] = metadata.records(rows)
    return known


def _figures(split: SplitReport, wanted: tuple[Any, ...]) -> dict[str, float]:
    name = split.name.replace(" ", "_")
    values = {figure.key: figure.value(split.own) for figure in wanted}
    return {f"{name}_{key}": round(float(value), 4) for key, value in values.items() if value is not None}


def _score_rows(split: SplitReport) -> list[dict[str, str | float | int | None]]:
    return [
        {"predictor": name, **{figure.name: figure.of(score) for figure in FIRST_FIGURES}}
        for name, score in split.scores.items()
    ]
