"""Comparison of two models on the same pods, and of labels with what a model knows.

Both comparisons are paired by workload, so that what is hard for both models does not count. Known workloads: which
model is nearer to labels that are newer than its training data? Unknown workloads: which is nearer when a workload, and
all that share a spec with it, is removed from both? A label shift, many known workloads that change their power at
once, is more often a changed measurement than a changed cluster: a person decides.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import Examples
from podpower.hours import HOUR_S
from podpower.model.knn import KnnModel
from podpower.model.scale import to_log
from podpower.training.groups import linked_groups

FOLDS = 10
# A candidate is worse when its errors are larger by more than chance, or by so much that chance does not matter.
CONFIDENCE = 0.9
_NEGLIGIBLE, _GROSS = 0.01, 0.25
_RESAMPLES = 2000
_SEED = 1
LEAST_COMPARED = 5  # workloads; one more can reverse a comparison of fewer
# Labels have shifted when more than half of at least so many known workloads leave their 95 % interval by a factor of
# two at once; a quarter is enough where the typical factor exceeds three, which a change of load rarely does.
_LEAST_KNOWN, _MOST_CHANGED, _FACTOR = 5, 0.5, float(np.log(2.0))
_MOST_CHANGED_FAR, _FAR = 0.25, float(np.log(3.0))

Outcome = Literal["better", "no worse", "worse", "unknown"]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Mean absolute log errors of champion and candidate over the same `workloads`, their `difference` (above zero: the
    candidate is worse) and its 80 % bootstrap interval; each end is exceeded with 10 % probability.
    """

    question: str
    workloads: int
    verdict: Outcome
    champion_error: float | None = None
    candidate_error: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.verdict == "unknown" or self.champion_error is None or self.candidate_error is None:
            few = f"only {self.workloads} workloads" if self.workloads else "nothing"
            return f"{self.question}: {few} to compare on"
        return (
            f"{self.question}: {self.verdict}; typical error a factor of {np.exp(self.candidate_error):.2f}, the "
            f"served model's {np.exp(self.champion_error):.2f}, over {self.workloads} workloads (difference "
            f"{self.difference:+.3f}, 80 % between {self.low:+.3f} and {self.high:+.3f} in logs)"
        )


def compare_known(
    champion: KnnModel, candidate: KnnModel, pods: Examples, *, champions: Examples | None = None
) -> Comparison:
    """Compare on labels that are newer than those of both models, of workloads that the champion knows.

    `champions` are the same pods in the vectors of the champion's encoder, where that is another.
    """
    of_champion = champion.predict((pods if champions is None else champions).queries())
    measured = to_log(pods.power_w)
    predicted = (of_champion.power_w, candidate.predict(pods.queries()).power_w)
    errors = [np.abs(to_log(power_w) - measured) for power_w in predicted]
    return _compared("known workloads", pods, errors, of_champion.basis == "seen")


def compare_unknown(
    champion: KnnModel, candidate: KnnModel, pods: Examples, *, champions: Examples | None = None
) -> Comparison:
    """Compare on workloads that are removed from both models, in FOLDS parts; `champions` as in `compare_known`."""
    entries = pods.entries
    champions = pods if champions is None else champions
    groups = linked_groups(entries.workloads, entries.spec_hashes)[pods.entry]
    errors = [np.full(len(pods), np.nan) for _ in range(2)]
    for fold in range(min(FOLDS, int(groups.max(initial=-1)) + 1)):
        at = np.flatnonzero(groups % FOLDS == fold)
        for place, (model, known) in enumerate(((champion, champions), (candidate, pods))):
            part = known.take(at)
            rest = without(model, part)
            if rest is not None:
                errors[place][at] = np.abs(to_log(rest.predict(part.queries()).power_w) - to_log(part.power_w))
    return _compared("unknown workloads", pods, errors, ~np.isnan(errors[0]) & ~np.isnan(errors[1]))


def without(model: KnnModel, pods: Examples) -> KnnModel | None:
    """Return the model without the workloads and specs of these pods; None where nothing is left."""
    workloads, specs = set(pods.entries.workloads), set(pods.entries.spec_hashes)
    index = model.index
    keep = np.array(
        [
            workload not in workloads and spec_hash not in specs
            for workload, spec_hash in zip(index.workloads, index.spec_hashes, strict=True)
        ]
    )
    if keep.all():
        return model
    if not keep.any():
        return None
    kept = np.flatnonzero(keep)
    inverted_file = model.inverted_file
    if inverted_file is not None:
        inverted_file = dataclasses.replace(inverted_file, list_of=inverted_file.list_of[kept])
    return model.with_index(index.take(kept), inverted_file)


class LabelShift(msgspec.Struct, frozen=True, kw_only=True):
    """Change of the labels of known workloads in the worst hour: of `known` workloads `changed` left their known range,
    by the `factor` in the median. `shifted` is True when these are too many at once.
    """

    known: int
    changed: int
    examples: list[str]
    shifted: bool
    factor: float = 1.0

    def __str__(self) -> str:
        if not self.shifted:
            return f"{self.changed} of {self.known} known workloads left their known range in the worst hour"
        return (
            f"{self.changed} of {self.known} known workloads left their known range at once: {self.factor:.3g} times "
            f"what was measured before, in the median (e.g. {', '.join(self.examples)}): check Kepler and its "
            "configuration; only if the labels are right, release them with `podpower models quarantine release "
            "--all` and promote by hand with `podpower models promote`"
        )


def find_label_shift(champion: KnnModel, examples: Examples) -> LabelShift:
    """Compare labels, hour by hour, with the champion's intervals of the same specs; return the worst hour."""
    estimates = champion.predict(examples.queries())
    seen = estimates.basis == "seen"
    low, high = estimates.interval(champion.intervals.levels[-1])
    measured = to_log(examples.power_w)
    outside = (measured < to_log(low) - _FACTOR) | (measured > to_log(high) + _FACTOR)
    apart, hour = measured - to_log(estimates.power_w), np.floor(examples.first_s / HOUR_S)
    shifts = [_shift_at(examples, seen & (hour == at), outside, apart) for at in np.unique(hour[seen])]
    worst = max(shifts, key=lambda shift: (shift.shifted, shift.changed / max(shift.known, 1)), default=None)
    return worst or LabelShift(known=0, changed=0, examples=[], shifted=False)


def _shift_at(
    examples: Examples, at: NDArray[np.bool_], outside: NDArray[np.bool_], apart: NDArray[np.float64]
) -> LabelShift:
    known, shares = _by_workload(examples, np.where(at, outside.astype(float), np.nan))
    names = [name for name, share in zip(known, shares, strict=True) if share > _MOST_CHANGED]
    changed = at & outside
    far = changed.any() and float(np.median(np.abs(apart[changed]))) > _FAR
    most = (_MOST_CHANGED_FAR if far else _MOST_CHANGED) * len(known)
    return LabelShift(
        known=len(known),
        changed=len(names),
        examples=["/".join(name) for name in names[:3]],
        shifted=len(known) >= _LEAST_KNOWN and len(names) > most,
        factor=float(np.exp(np.median(apart[changed]))) if changed.any() else 1.0,
    )


def _compared(
    question: str, pods: Examples, errors: Sequence[NDArray[np.float64]], at: NDArray[np.bool_]
) -> Comparison:
    known, champion = _by_workload(pods, np.where(at, errors[0], np.nan))
    if len(known) < LEAST_COMPARED:
        return Comparison(question=question, workloads=len(known), verdict="unknown")
    _, candidate = _by_workload(pods, np.where(at, errors[1], np.nan))
    differences = candidate - champion
    rng = np.random.default_rng(_SEED)
    means = differences[rng.integers(0, len(differences), size=(_RESAMPLES, len(differences)))].mean(axis=1)
    low, high = (float(np.quantile(means, q)) for q in (1 - CONFIDENCE, CONFIDENCE))
    difference = float(differences.mean())
    verdict: Outcome = "no worse"
    if (low > 0 and difference > _NEGLIGIBLE) or difference > _GROSS:
        verdict = "worse"
    elif high < 0:
        verdict = "better"
    return Comparison(
        question=question,
        workloads=len(differences),
        verdict=verdict,
        champion_error=float(champion.mean()),
        candidate_error=float(candidate.mean()),
        difference=difference,
        low=low,
        high=high,
    )


def _by_workload(pods: Examples, values: NDArray[np.float64]) -> tuple[list[tuple[str, str, str]], NDArray[np.float64]]:
    """Return the workloads with any known value, in their order, and the mean of their values."""
    gathered: dict[tuple[str, str, str], list[float]] = {}
    for entry, value in zip(pods.entry, values.tolist(), strict=True):
        if value == value:  # noqa: PLR0124  # NaN
            gathered.setdefault(pods.entries.workloads[entry], []).append(value)
    return list(gathered), np.array([float(np.mean(found)) for found in gathered.values()])
