"""Training: measured entries from the examples, and what is chosen on workloads left out in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import Examples, MeasuredEntries
from podpower.datasets.hash_versions import FIRST_VERSION, HASH_VERSION
from podpower.datasets.training_set import Rows, TrainingSet
from podpower.errors import InvalidInput
from podpower.labels.nodes import label_notes, sources_in_words
from podpower.model.estimator import effects_of
from podpower.model.knn import KnnModel
from podpower.model.prior import fit_prior
from podpower.model.scale import to_log
from podpower.training.history import History
from podpower.training.learn import all_equal, learn
from podpower.training.metric import default_metric

DEFAULT_NEIGHBOURS = 32


def train(
    rows: Rows, *, target: str | None = None, neighbors: int | None = None, notes: Sequence[str] = (),
    node_types: Mapping[str, str] = MappingProxyType({}),
) -> KnnModel:  # fmt: skip
    """Return a model of `target` from `train_rows` (docs/reference/file-formats.md); `neighbors` bounds how many are
    averaged.

    `notes` become notes of the model, `node_types` are those of `KnnModel`. With one workload only there is nothing to
    choose or to judge by: a note states that, and its intervals are wide. InvalidInput when no label is known, all are
    zero, columns are missing or encoders are mixed.
    """
    training_set = TrainingSet.of(rows, target=target)
    return train_examples(
        training_set.examples(),
        target=training_set.target,
        neighbors=neighbors,
        row_count=training_set.row_count,
        label_source=sources_in_words(training_set.label_sources),
        notes=[*label_notes(training_set.label_sources, training_set.node_ratios), *notes],
        node_types=node_types,
    )


def check_trainable(power_w: NDArray[np.float64], *, neighbors: int | None) -> None:
    """InvalidInput where there is nothing to be learned from, or `neighbors` is no number of neighbours."""
    if neighbors is not None and neighbors < 1:
        raise InvalidInput(f"neighbors must be at least 1, not {neighbors}")
    if not (power_w > 0).any():
        raise InvalidInput(
            "all labels are zero: Kepler reports 0 W everywhere, as it does without hardware counters (most cloud "
            "VMs); see `podpower doctor`"
        )


def train_examples(
    examples: Examples,
    *,
    target: str = "energy_step_j",
    neighbors: int | None = None,
    row_count: int | None = None,
    without: frozenset[int] = frozenset(),
    label_source: str | None = None,
    notes: Sequence[str] = (),
    node_types: Mapping[str, str] = MappingProxyType({}),
) -> KnnModel:
    """Train on examples that are already aggregated. `without` names blocks of columns to leave out, by position."""
    check_trainable(examples.power_w, neighbors=neighbors)
    neighbours, history = neighbors or DEFAULT_NEIGHBOURS, History.of(examples)
    size, labels_end_s = _training_size(examples, row_count=row_count), float(examples.last_s.max())
    notes = [*_notes(examples), *notes]
    examples = examples.at_most(0)  # the rest needs what all have in common, not their columns
    entries, start = history.entries, default_metric(examples.blocks, without=without)
    learned = learn(entries, history.residuals, start, target=target, neighbours=neighbours)
    metrics, inverted_file = learned.metrics, learned.inverted_file
    if inverted_file is not None:
        entries = replace(entries, vectors=entries.vectors.astype(np.float16))
        metrics = metrics | {"search_recall_at_10": inverted_file.recall_at_10}
    return KnnModel(
        index=entries,
        inverted_file=inverted_file,
        metric=learned.metric,
        neighbours=neighbours,
        pseudo_counts=learned.pseudo_counts,
        prior=fit_prior(
            to_log(entries.physical_power_w),
            entries.controllers,
            to_log(entries.power_w) - effects_of(learned.cluster_effects, entries.clusters),
            entries.share,
        ),
        prior_total=_prior_total(entries),
        similar_within=learned.similar_within,
        intervals=learned.intervals,
        mean_factors=learned.mean_factors,
        cluster_effects=learned.cluster_effects,
        half_life_s=history.half_life_s,
        target=target,
        step_seconds=examples.step_seconds,
        energy=examples.energy,
        label_source=label_source,
        node_types=dict(node_types),
        encoder_fingerprint=examples.encoder_fingerprint,
        metrics=metrics,
        labels_end_s=labels_end_s,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_size=size,
        training_notes=notes,
        spec_hash_version=FIRST_VERSION if examples.older_hashes else HASH_VERSION,
    )


def _training_size(examples: Examples, *, row_count: int | None) -> dict[str, int]:
    return {
        "rows": len(examples) if row_count is None else row_count,
        "rows_left_out": sum(examples.left_out.values()),
        "examples": len(examples),
        "specs": len(set(examples.entries.spec_hashes)),
        "workloads": len(set(examples.entries.workloads)),
    }


def _notes(examples: Examples) -> list[str]:
    notes = []
    if len(set(examples.entries.workloads)) == 1:
        notes.append(
            "trained on one workload only: others are predicted from little more than their resources, and their "
            "intervals are assumed"
        )
    elif all_equal(to_log(examples.power_w)):
        notes.append(
            "all labels are the same, which no cluster's are: nothing can be learned of what differs between "
            "workloads, and intervals are assumed"
        )
    if not examples.encoder_fingerprint:
        notes.append("the rows do not name their encoder: nothing can be predicted from specs")
    return notes


def _prior_total(entries: MeasuredEntries) -> float:
    """Return the mean log1p joules of jobs, in which each workload counts once; NaN without any job."""
    jobs = ~np.isnan(entries.total_energy_j)
    values = np.log1p(entries.total_energy_j[jobs])
    return float(np.average(values, weights=entries.share[jobs])) if len(values) else float("nan")
