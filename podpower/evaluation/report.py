"""Evaluation report: one HTML file without links, for a browser or a mail."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from typing import Any

import numpy as np

from podpower.evaluation import figures, plots
from podpower.evaluation.evaluate import EvaluationReport
from podpower.evaluation.in_watts import in_watts
from podpower.evaluation.pages import MARK
from podpower.evaluation.results import MODEL, PodResult, SplitReport
from podpower.evaluation.scores import Score
from podpower.evaluation.verdict import next_step

_WORST = 10
_MOST_PARTS = 20
_EXPLAINED = {
    "unseen workloads": "Each workload is left out, with all that share a spec with it, and predicted from the others: "
    "what will something new draw?",
    "step by step": "Fitted on all time up to a step, each pod's mean in the next one is predicted, as a model in use "
    "meets the day after: how does the error go over time?",
    "another cluster": "Each cluster is left out and predicted from the others: what will it draw elsewhere?",
    "served model": "The versions that were served on this day, against the labels of the time in which each was "
    "served: how good was what people saw?",
    "time forward": "Fitted on the first half of the time, each pod's mean in the second half is predicted: what will "
    "something known draw next?",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 72rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 2.5rem; border-top: 1px solid #d8dee6; padding-top: 1.2rem; }
h3 { margin: 1.6rem 0 .4rem; font-size: 1rem; } p.sub { color: #5b6675; margin-top: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid #e8ecf1; white-space: nowrap; }
th { color: #5b6675; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td.text, th.text { text-align: left; white-space: normal; overflow-wrap: break-word; }
tr.own td { font-weight: 600; background: #f2f7fc; }
.plots { margin-top: 1rem; display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0 0 1.2rem; } figcaption { color: #5b6675; font-size: .9rem; padding-top: .3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .92rem; } dd { margin: 0; }
dt { font-weight: 600; }
svg { max-width: 100%; height: auto; } .wide { overflow-x: auto; }
ul.notes { background: #fff6e0; padding: .6rem 2rem; }
ul.alarms { background: #fde8e8; padding: .6rem 2rem; }
"""
_COLUMNS = (
    figures.WAPE,
    figures.LOG_R2,
    figures.RANK,
    figures.MEDIAN_ERROR,
    figures.MAE,
    figures.R2,
    figures.SUM,
    figures.COVERAGE,
    figures.WIDTH,
    figures.PODS,
)


def render(report: EvaluationReport, *, title: str = "How good are the predictions?") -> str:
    """Return the report as one HTML document: verdicts and alarms, scores beside baselines for each split, plots, and
    the worst workloads. Joules a step are shown in watts.
    """
    report = in_watts(report)
    made = datetime.now(UTC).isoformat(timespec="minutes")
    notes = "".join(f"<li>not evaluated: {escape(note)}</li>" for note in report.notes)
    columns = "".join(f"<dt>{escape(figure.name)}</dt><dd>{escape(figure.meaning)}</dd>" for figure in _COLUMNS)
    body = [
        f"<h1>{escape(title)}</h1>",
        *_verdicts(report),
        f'<p class="sub">Target {escape(report.target)}, in {escape(report.unit)} a pod; steps of '
        f"{report.step_seconds:g} s. {_data(report)} Made {made} by podpower {version('podpower')}.</p>",
        f"<details><summary>Columns</summary><dl>{columns}</dl></details>",
        f'<ul class="notes">{notes}</ul>' if notes else "",
        *(_split(split, report.unit) for split in report.splits),
    ]
    return (
        f'<!doctype html>\n{MARK}\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _verdicts(report: EvaluationReport) -> Iterable[str]:
    """Yield the verdict on each split, and the alarms."""
    verdicts = "".join(f"<li>{escape(str(verdict))}</li>" for verdict in report.verdicts)
    if verdicts:
        yield f'<h2>Verdict</h2><ul class="verdict">{verdicts}</ul>'
    alarms = "".join(f"<li>{escape(alarm)}</li>" for alarm in report.alarms)
    if alarms:
        yield f'<ul class="alarms">{alarms}</ul>'
    if report.verdicts:
        yield f"<p><strong>Next step:</strong> {escape(next_step(report.verdicts))}</p>"


def _data(report: EvaluationReport) -> str:
    if not report.row_count:
        return ""
    first, last = (
        datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="minutes")[:16]
        for at in (report.first_s, report.last_s)
    )
    return f"{report.row_count:,} labels of {report.workloads} workloads, {first} to {last} UTC."


def _split(split: SplitReport, unit: str) -> str:
    ranges = plots.intervals(split, unit=unit)
    nominal = f"{split.nominal_coverage:.0%} intervals"
    return "\n".join(
        (
            f"<h2>{escape(split.name.capitalize())}</h2>",
            f'<p class="sub">{escape(_EXPLAINED.get(split.name, ""))} {len(split.pods)} pods, {split.extent}.</p>',
            _scores("predictor", split.scores.items()),
            '<div class="plots">',
            _figure(
                plots.predicted_against_measured(split, unit=unit), "Predicted against measured; the line is right"
            ),
            _figure(plots.residuals(split, unit=unit), "How far off, as a factor"),
            *(_figure(figure, caption) for figure, caption in _more_figures(split)),
            "</div>",
            _figure(ranges, f"{nominal} and what was measured") if ranges else "",
            "<h3>By what the prediction rests on</h3>",
            _scores("basis", split.by_basis.items()),
            *_parts("Without a block of features", "without", split.ablation),
            *_parts("By kind", "kind", split.by_kind),
            *_parts("By namespace", "namespace", split.by_namespace),
            "<h3>What adds most to the error</h3>",
            _worst(split.pods, unit, by=lambda pod: abs(pod.predicted - pod.measured)),
            *_surprises(split.pods, unit),
        )
    )


def _scores(name: str, scores: Iterable[tuple[str, Score]]) -> str:
    head = "".join(f'<th title="{escape(figure.meaning)}">{escape(figure.name)}</th>' for figure in _COLUMNS)
    rows = "".join(
        f"<tr{' class=own' if label == MODEL else ''}><td>{escape(label)}</td>"
        + "".join(f"<td>{figure.of(score)}</td>" for figure in _COLUMNS)
        + "</tr>"
        for label, score in scores
    )
    return f'<div class="wide"><table><tr><th>{escape(name)}</th>{head}</tr>{rows}</table></div>'


def _more_figures(split: SplitReport) -> Iterable[tuple[Any, str]]:
    calibration, over_time = plots.calibration(split), plots.error_over_time(split)
    if calibration:
        yield calibration, "How many labels the intervals hold, against how many they promise"
    if over_time:
        yield over_time, "Error over time"


def _parts(title: str, name: str, scores: dict[str, Score]) -> Iterable[str]:
    """Yield a table of scores under a title; nothing where there are none. Of many, those with the most pods."""
    if scores:
        shown = sorted(scores.items(), key=lambda item: -item[1].count)[:_MOST_PARTS]
        rest = f" (the largest {_MOST_PARTS} of {len(scores)})" if len(scores) > _MOST_PARTS else ""
        yield f"<h3>{escape(title + rest)}</h3>"
        yield _scores(name, shown)


def _surprises(pods: Sequence[PodResult], unit: str) -> Iterable[str]:
    """Yield the pods that are farthest from their interval; nothing where all are inside."""
    outside = [pod for pod in pods if _beyond(pod) > 0]
    if outside:
        yield "<h3>Farthest outside their interval</h3>"
        yield _worst(outside, unit, by=_beyond)


def _beyond(pod: PodResult) -> float:
    """Return the distance of the label from its interval in e-folds, above a thousandth of the unit."""
    if pod.low is None or pod.high is None:
        return 0.0
    low, high, measured = (float(np.log(value + 1e-3)) for value in (pod.low, pod.high, pod.measured))
    return max(low - measured, measured - high)


def _worst(pods: Sequence[PodResult], unit: str, *, by: Callable[[PodResult], float]) -> str:
    """Return a table of the worst pod of each workload by this measure, the worst first."""
    worst: dict[tuple[str | None, ...], PodResult] = {}
    for pod in sorted(pods, key=by, reverse=True):
        worst.setdefault((pod.cluster, pod.namespace, pod.workload_kind, pod.workload_name), pod)
    ordered = list(worst.values())[:_WORST]
    rows = [
        (
            f"{pod.namespace}/{pod.pod or pod.workload_name}",
            pod.workload_kind,
            pod.image_key or "-",
            pod.basis,
            _number(pod.measured),
            _number(pod.predicted),
            "-" if pod.low is None or pod.high is None else f"{_number(pod.low)} to {_number(pod.high)}",
        )
        for pod in ordered
    ]
    columns = ("pod", "kind", "image", "basis", f"measured, {unit}", f"predicted, {unit}", f"interval, {unit}")
    return _table(columns, rows, text=4)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: int = 1) -> str:
    """Return a table whose first `text` columns are words, not numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=text' if i < text else ''}>{escape(c)}</{tag}>" for i, c in enumerate(row))

    head = cells("th", columns)
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _figure(figure: Any, caption: str) -> str:
    return f"<figure>{plots.to_svg(figure)}<figcaption>{escape(caption)}</figcaption></figure>"


def _number(value: float | None) -> str:
    """Return three significant digits; "-" where undefined."""
    if value is None or not np.isfinite(value):
        return figures.UNKNOWN
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
