"""Evaluate what was served: each version on the labels of the time in which the store records it as served."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from podpower.datasets.entries import Examples
from podpower.datasets.training_set import TrainingSet
from podpower.errors import PodpowerError
from podpower.evaluation.drift import Drift, drift_of
from podpower.evaluation.evaluate import HeldOutPart, evaluate_models, floor_of
from podpower.evaluation.names import SERVED
from podpower.evaluation.results import SplitReport
from podpower.features.encoder import Encoder
from podpower.registry.promotions import Serving
from podpower.registry.store import ModelStore

# Encodes pods anew: returns those whose specs are stored, as they are and in vectors of the encoder.
Reencode = Callable[[Encoder, Examples], tuple[Examples, Examples]]


@dataclass(kw_only=True)
class ServedEvaluation:
    """Errors and drift of the versions served in a time range; `split` is None where none could be measured, and
    `notes` have the reasons.
    """

    versions: list[str] = field(default_factory=list)
    split: SplitReport | None = None
    drift: Drift = field(default_factory=lambda: Drift(workloads=0))
    notes: list[str] = field(default_factory=list)


def evaluate_served(
    store: ModelStore, training_set: TrainingSet, *, start_s: float, end_s: float, reencode: Reencode
) -> ServedEvaluation:
    """Evaluate each version on the labels that are newer than its own, of the time in which it was served."""
    found = ServedEvaluation()
    servings = store.serving(start_s, end_s)
    if not servings:
        found.notes.append(f"{SERVED}: no version was served between {_at(start_s)} and {_at(end_s)}")
        return found
    parts = _parts(store, servings, training_set, reencode, found)
    found.split = evaluate_models(parts, target=training_set.target, name=SERVED)
    if found.split is not None:
        floor = floor_of(training_set.target, step_seconds=training_set.step_seconds)
        found.drift = drift_of(found.split, floor=floor)
    return found


def _parts(
    store: ModelStore,
    servings: list[Serving],
    training_set: TrainingSet,
    reencode: Reencode,
    found: ServedEvaluation,
) -> Iterator[HeldOutPart]:
    """Yield each version with its pods, and add to `found` what was or could not be evaluated."""
    for serving in servings:
        time = f"{SERVED}: {serving.version}, served from {_at(serving.start_s)} to {_at(serving.end_s)}"
        try:
            encoder, model = store.load(serving.version)
        except PodpowerError as error:
            found.notes.append(f"{time}, cannot be loaded: {error}")
            continue
        if model.target != training_set.target:
            found.notes.append(f"{time}, has the target {model.target}, not {training_set.target}")
            continue
        first_s = max(serving.start_s, model.labels_end_s)
        newer = training_set.where((pl.col("ts") > first_s) & (pl.col("ts") <= serving.end_s))
        pods = None if newer.frame.is_empty() else newer.pods()
        if pods is not None and encoder.fingerprint != pods.encoder_fingerprint:
            _, pods = reencode(encoder, pods)
        if pods is None or not len(pods):
            found.notes.append(f"{time}: no labels newer than its own in this time")
            continue
        if serving.version not in found.versions:
            found.versions.append(serving.version)
        yield model, pods, first_s


def _at(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"
