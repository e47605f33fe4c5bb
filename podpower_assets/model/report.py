"""Metadata of an evaluation: verdict, scores beside the baselines, plots, and figures for the UI to draw."""

from typing import Any

from podpower.evaluation import plots
from podpower.evaluation.evaluate import EvaluationReport, SplitReport
from podpower.evaluation.figures import COVERAGE, LISTED, LOG_R2, PODS, RANK, WAPE, score_columns
from podpower_assets import metadata

_DRAWN = (*LISTED, RANK)
_ABLATION = (WAPE, LOG_R2, RANK, COVERAGE, PODS)


def report_metadata(report: EvaluationReport | None) -> dict[str, Any]:
    """Return the verdict, alarms, and a table of scores and two plots for each split; nothing without a report."""
    known: dict[str, Any] = {}
    if report is None:
        return known
    known["verdict"] = metadata.bullets([str(verdict) for verdict in report.verdicts])
    if report.alarms:
        known["alarms"] = metadata.bullets(report.alarms)
    for split in report.splits:
        name = split.name.split()[0]  # unseen, time: the UI has little room for names
        known[f"{name}_scores"] = metadata.records(_score_rows(split))
        known[f"{name}_scatter"] = metadata.plot(plots.predicted_against_measured(split, unit=report.unit))
        known[f"{name}_residuals"] = metadata.plot(plots.residuals(split, unit=report.unit))
    return known


def figures(report: EvaluationReport) -> dict[str, Any]:
    """Return the figures of the model for each split, and what each block of features is worth."""
    known: dict[str, Any] = {}
    for split in report.splits:
        name = split.name.replace(" ", "_")
        values = {figure.key: figure.value(split.own) for figure in _DRAWN}
        known |= {f"{name}_{key}": float(value) for key, value in values.items() if value is not None}
        if split.ablation:
            rows = [
                {"without": block, **{figure.name: figure.of(score) for figure in _ABLATION}}
                for block, score in split.ablation.items()
            ]
            known["ablation"] = metadata.records(rows)
    return known


def _score_rows(split: SplitReport) -> list[dict[str, str | float | int | None]]:
    shown = score_columns(split.levels)
    return [
        {"predictor": name, **{figure.name: figure.of(score) for figure in shown}}
        for name, score in split.scores.items()
    ]
