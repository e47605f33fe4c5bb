"""Verdicts and tables of an evaluation, for `train` and `evaluate`."""

from typing import IO, TYPE_CHECKING

from podpower.cli import output

if TYPE_CHECKING:
    from podpower.evaluation.evaluate import EvaluationReport
    from podpower.evaluation.results import SplitReport


def show_report(report: "EvaluationReport", *, stream: IO[str] | None = None) -> None:
    """Print the verdict and the scores of each split to `stream` (None: standard output), and alarms as notes."""
    for verdict in report.verdicts:
        print(verdict, file=stream)
    for alarm in report.alarms:
        output.note(f"alarm: {alarm}")
    for split in report.splits:
        print(file=stream)
        _show_split(split, unit=report.unit, stream=stream)


def _show_split(split: "SplitReport", *, unit: str, stream: IO[str] | None) -> None:
    from podpower.evaluation.figures import MAE, score_columns  # noqa: PLC0415

    figures = score_columns(split.levels)
    columns = ("predictor", *(f"{f.name} ({unit})" if f is MAE else f.name for f in figures))
    parts = [(split.scores, ""), (split.by_basis, "  "), (split.ablation, "  without ")]
    rows = [
        (f"{prefix}{name}", *(figure.of(score) for figure in figures))
        for scores, prefix in parts
        for name, score in scores.items()
    ]
    output.table(columns, rows, title=f"{split.name} ({split.extent})", right=columns[1:], stream=stream)
