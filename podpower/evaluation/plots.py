"""Plots of an evaluation as matplotlib figures, for the HTML report."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podpower.evaluation.results import MODEL, PodResult, SplitReport
from podpower.model.intervals import BASES

if TYPE_CHECKING:  # slow to import; most runs draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASIS_COLOURS = {"seen": "#1b7f5c", "similar": "#2a6fbb", "prior": "#c2571a"}
_NAMED, _NAMED_INTERVALS, _NAME_CHARACTERS = 6, 30, 32  # names beside points, below intervals, and their length
_NAMED_FROM = float(np.log(2.0))
_MAX_INTERVALS = 60  # pods whose intervals are drawn; more would be a smear


def predicted_against_measured(split: SplitReport, *, unit: str) -> Figure:
    """Plot the prediction of each held-out pod over its label, on log scales; the diagonal is right.

    Zeros cannot stand on a log scale: they are drawn at the lower edge.
    """
    figure, axes = _axes()
    measured, predicted = _columns(split.pods)
    lower, upper = _range(np.concatenate([measured, predicted]))
    axes.plot([lower, upper], [lower, upper], color="#999999", linewidth=1, zorder=1)
    for basis in BASES:
        at = np.array([pod.basis == basis for pod in split.pods], dtype=bool)
        if at.any():
            axes.scatter(
                np.maximum(measured[at], lower),
                np.maximum(predicted[at], lower),
                s=22,
                alpha=0.75,
                color=BASIS_COLOURS[basis],
                label=f"{basis} ({int(at.sum())})",
                linewidths=0,
                zorder=2,
            )
    axes.set(xscale="log", yscale="log", xlim=(lower, upper), ylim=(lower, upper))
    axes.set_xlabel(f"measured, {unit}")
    axes.set_ylabel(f"predicted, {unit}")
    axes.set_aspect("equal")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    _name_worst(axes, split.pods, lower)
    return figure


def _name_worst(axes: Axes, pods: Sequence[PodResult], lower: float) -> None:
    """Write the names of the workloads that are farthest off by factor, at least by two, beside their points."""
    off: dict[str, tuple[float, tuple[float, float]]] = {}
    for pod in pods:
        at = max(pod.measured, lower), max(pod.predicted, lower)
        distance = abs(float(np.log(at[1] / at[0])))
        name = f"{pod.namespace}/{pod.workload_name}"
        if distance > _NAMED_FROM and distance > off.get(name, (0.0, at))[0]:
            off[name] = distance, at
    for name, (_, at) in sorted(off.items(), key=lambda item: -item[1][0])[:_NAMED]:
        axes.annotate(_short(name), at, xytext=(4, 3), textcoords="offset points", fontsize=7, color="#555555")


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"


def residuals(split: SplitReport, *, unit: str) -> Figure:
    """Plot predicted over measured as a factor, both above a floor of a hundredth of the median label."""
    figure, axes = _axes()
    measured, predicted = _columns(split.pods)
    positive = measured[measured > 0]
    floor = float(np.median(positive)) / 100 if len(positive) else 1.0
    logs = np.log10((predicted + floor) / (measured + floor))
    reach = max(1.0, float(np.ceil(np.abs(logs).max(initial=0.0))))
    edges = np.linspace(-reach, reach, 41)
    present = [basis for basis in BASES if any(pod.basis == basis for pod in split.pods)]
    of_basis = [logs[[pod.basis == basis for pod in split.pods]] for basis in present]
    axes.hist(of_basis, bins=list(edges), stacked=True, color=[BASIS_COLOURS[b] for b in present], label=present)
    axes.axvline(0, color="#999999", linewidth=1)
    ticks = [t for t in (-3, -2, -1, 0, 1, 2, 3) if abs(t) <= reach]
    axes.set_xticks(ticks, [f"{10.0**t:g} ×" for t in ticks])
    axes.set_xlabel(f"predicted / measured ({unit})")
    axes.set_ylabel("pods")
    axes.legend(frameon=False, fontsize=9)
    return figure


def intervals(split: SplitReport, *, unit: str) -> Figure | None:
    """Plot intervals of pods in the order of their prediction, with the labels; None where there are none."""
    pods = sorted((p for p in split.pods if p.low is not None and p.high is not None), key=lambda p: p.predicted)
    if not pods:
        return None
    if len(pods) > _MAX_INTERVALS:
        pods = [pods[i] for i in np.linspace(0, len(pods) - 1, _MAX_INTERVALS).astype(int)]
    figure, axes = _axes(width=11.0)
    measured, predicted = _columns(pods)
    low, high = np.array([p.low for p in pods], dtype=float), np.array([p.high for p in pods], dtype=float)
    lower, upper = _range(np.concatenate([measured, predicted, low, high]))
    x = np.arange(len(pods))
    inside = (low <= measured) & (measured <= high)
    axes.vlines(x, np.maximum(low, lower), np.maximum(high, lower), color="#b9cde0", linewidth=5, label="interval")
    axes.scatter(x, np.maximum(predicted, lower), marker="_", s=60, color="#2a6fbb", label="predicted")
    for at, colour, label in ((inside, "#222222", "measured, inside"), (~inside, "#c22a2a", "measured, outside")):
        if at.any():
            axes.scatter(x[at], np.maximum(measured, lower)[at], s=14, color=colour, label=label, zorder=3)
    axes.set(yscale="log", ylim=(lower, upper), xlim=(-1, len(pods)))
    if len(pods) <= _NAMED_INTERVALS:
        names = [_short(f"{pod.namespace}/{pod.workload_name}") for pod in pods]
        axes.set_xticks(x, names, rotation=60, ha="right", fontsize=7)
    else:
        outside = np.flatnonzero(~inside)[:_NAMED_INTERVALS]
        names = [_short(f"{pods[int(at)].namespace}/{pods[int(at)].workload_name}") for at in outside]
        axes.set_xticks(outside, names, rotation=60, ha="right", fontsize=7)
    axes.set_xlabel("pods, by prediction" + ("" if len(pods) <= _NAMED_INTERVALS else "; named: outside"))
    axes.set_ylabel(unit)
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="upper left")
    return figure


def calibration(split: SplitReport) -> Figure | None:
    """Plot coverage over the level of intervals, by basis; the diagonal is right. None without intervals."""
    scores = {"all": split.scores[MODEL], **split.by_basis}
    lines = {name: score.coverages for name, score in scores.items() if score.coverages}
    if not lines:
        return None
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for name, coverages in lines.items():
        levels = sorted(float(level) for level in coverages)
        held = [coverages[f"{level:g}"] for level in levels]
        colour = BASIS_COLOURS.get(name, "#222222")
        axes.plot(levels, held, marker="o", color=colour, label=f"{name} ({scores[name].count})")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("promised")
    axes.set_ylabel("held")
    axes.set_aspect("equal")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def error_over_time(split: SplitReport) -> Figure | None:
    """Plot WAPE and coverage of each step; None where there is only one."""
    if len(split.by_time) < 2:
        return None
    from matplotlib.dates import ConciseDateFormatter  # noqa: PLC0415

    figure, axes = _axes()
    times = [datetime.fromtimestamp(float(at), UTC) for at in split.by_time]
    for name, values, colour in (
        ("WAPE", [s.wape for s in split.by_time.values()], "#2a6fbb"),
        (f"outside the {split.nominal_coverage:.0%} interval", _outside(split), "#c2571a"),
    ):
        known = [(t, v) for t, v in zip(times, values, strict=True) if v is not None]
        if known:
            axes.plot([t for t, _ in known], [v for _, v in known], marker="o", color=colour, label=name)  # type: ignore[arg-type]
    axes.axhline(1 - split.nominal_coverage, color="#c2571a", linewidth=0.8, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    axes.set_xlabel("time (UTC)")
    axes.legend(frameon=False, fontsize=9)
    return figure


def _outside(split: SplitReport) -> list[float | None]:
    return [None if score.coverage is None else 1 - score.coverage for score in split.by_time.values()]


def to_svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element for a page: no links, no scripts, the same text every time."""
    import matplotlib as mpl  # noqa: PLC0415

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "podpower", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _axes(*, width: float = 5.2) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _columns(pods: Sequence[PodResult]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([p.measured for p in pods], dtype=float), np.array([p.predicted for p in pods], dtype=float)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return decades that contain the positive values, at least two and at most eight."""
    positive = values[values > 0]
    if not len(positive):
        return 0.1, 10.0
    upper = np.ceil(np.log10(positive.max()) + 0.1)
    lower = np.clip(np.floor(np.log10(positive.min())), upper - 8, upper - 2)
    return float(10.0**lower), float(10.0**upper)
