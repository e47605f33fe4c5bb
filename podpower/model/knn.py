"""The model: specs whose power is known, and the prediction of a new one from them.

Power is close to log-normal across workloads, so neighbours are averaged on the log scale; a spec that has labels
itself is predicted from its own arithmetic mean. Partial pooling (`podpower.model.partial_pooling`) combines them with
the prior.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import Entries, MeasuredEntries
from podpower.datasets.hash_versions import FIRST_VERSION, HASH_VERSION
from podpower.errors import InvalidInput, Refused
from podpower.model.basis import decide_bases
from podpower.model.estimates import EXPLAINED_NEIGHBOURS, Contributions, Estimates, joined
from podpower.model.estimator import Estimator, effects_of, is_familiar
from podpower.model.expected import MeanFactors
from podpower.model.intervals import Intervals, least_spread
from podpower.model.lookup import entries_from_state, entries_state
from podpower.model.metric import Metric, kernel
from podpower.model.partial_pooling import PseudoCounts, checked_pseudo_counts, remoteness
from podpower.model.prior import Prior
from podpower.model.scale import from_log, to_log
from podpower.model.search import InvertedFile

SCHEMA_VERSION = 6
_CHUNK_QUERIES = 4096
# Of log power, between clusters that run the same software. Simulated ones differ by less, real ones may by more.
UNKNOWN_CLUSTER_SPREAD = 0.07


@dataclass(kw_only=True, eq=False, repr=False)
class KnnModel:
    """A trained model. Make one with `podpower.training.train.train` or `from_state`."""

    # Evidence, and how it is weighed
    index: MeasuredEntries
    inverted_file: InvertedFile | None
    metric: Metric
    neighbours: int
    pseudo_counts: PseudoCounts
    prior: Prior
    prior_total: float  # log joules of a job; NaN without jobs
    similar_within: float  # more remote, left-out workloads were no better off than with the prior
    intervals: Intervals
    mean_factors: MeanFactors
    cluster_effects: dict[str, float]
    half_life_s: float
    # What it was trained on
    target: str  # what it was tuned on
    step_seconds: float  # of the labels
    energy: str | None  # kind of the labels: "dynamic", "total", None: unknown
    label_source: str | None = None  # what measured the labels; None: unknown
    labels_end_s: float  # time of the last label
    encoder_fingerprint: str
    spec_hash_version: int = HASH_VERSION  # oldest version of its spec hashes
    node_types: dict[str, str] = field(default_factory=dict)  # of clusters whose nodes have one; "": of every cluster
    trained_at: str  # RFC 3339
    training_size: dict[str, int]  # counts of rows, examples, specs and workloads
    metrics: dict[str, Any]  # grouped cross-validation
    training_notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._log_total = np.log1p(self.index.total_energy_j)
        self._doubts = _doubts(self.index)
        self._clusters = tuple(sorted(self._doubts or ()))

    @cached_property
    def _estimator(self) -> Estimator:
        """The estimator, made when it is first used: a model that is only written needs none."""
        return Estimator(
            self.index,
            metric=self.metric,
            neighbours=self.neighbours,
            inverted_file=self.inverted_file,
            cluster_effects=self.cluster_effects,
        )

    def with_index(self, index: MeasuredEntries, inverted_file: InvertedFile | None) -> Self:
        """Return the same model of other entries."""
        return replace(self, index=index, inverted_file=inverted_file)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what to know before trusting it: those of the training, and on spec hashes that are older."""
        if self.spec_hash_version >= HASH_VERSION:
            return tuple(self.training_notes)
        return (
            *self.training_notes,
            f"spec hashes of the model are of version {self.spec_hash_version}, not {HASH_VERSION}: a spec whose "
            "redacted text differs since is predicted as similar, not as seen; encode, join and train again with "
            "`podpower train`",
        )

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters whose labels it was trained on, by name; none where labels do not name theirs."""
        return self._clusters

    def has_labels(self, spec_hash: str) -> bool:
        """Return True if this very spec was measured somewhere."""
        return self._estimator.has_spec(spec_hash)

    def node_type(self, cluster: str | None) -> str | None:
        """Return the machine type that labels of a cluster are of; None where it is not known. Without a name, that of
        the clusters in the model, where they have the same.
        """
        if cluster:
            return self.node_types.get(cluster, self.node_types.get(""))
        found = {self.node_type(one) for one in self.clusters} if self.clusters else {self.node_types.get("")}
        return found.pop() if len(found) == 1 else None

    @property
    def dim(self) -> int:
        """The width of the vectors it takes."""
        return sum(self.metric.blocks)

    def predict(self, queries: Entries, *, shown: int = EXPLAINED_NEIGHBOURS) -> Estimates:
        """Return estimates for m requests, each with `shown` of its neighbours; none depends on the others.

        InvalidInput when the vectors' width is not the model's.
        """
        if queries.vectors.ndim != 2 or queries.vectors.shape[1] != self.dim:
            raise InvalidInput(
                f"vectors of shape {queries.vectors.shape} do not fit a model of {self.dim} columns: "
                "use the encoder that the model was trained with"
            )
        if len(queries) <= _CHUNK_QUERIES:
            return self._predict(queries, shown)
        starts = range(0, len(queries), _CHUNK_QUERIES)
        return joined([self._predict(queries.part(slice(i, i + _CHUNK_QUERIES)), shown) for i in starts])

    def _predict(self, queries: Entries, shown: int) -> Estimates:
        """Return estimates from evidence pooled over levels; a spec with labels of its own is estimated from these."""
        prior_logs = self.prior.at(to_log(queries.physical_power_w), queries.controllers)
        beside = self._cluster_doubt(queries.clusters)
        near, squared, levels = self._estimator.evidence(queries)
        pooled = self._estimator.pooled(prior_logs, levels, self.pseudo_counts)
        total_energy_j = self._totals(near, squared)
        logs = np.array((pooled.logs, prior_logs))
        if self.cluster_effects:
            logs += effects_of(self.cluster_effects, queries.clusters)
        power_w, prior_power_w = from_log(logs)
        prior_weight = pooled.prior_share
        expected_w = power_w * self.mean_factors.of(is_familiar(levels))
        remote = remoteness(prior_weight, self.pseudo_counts["neighbours"])
        elsewhere, revised = levels["elsewhere"].of_entries, levels["owner"].of_entries
        bases = decide_bases(remote, similar_within=self.similar_within, revised=revised, elsewhere=elsewhere)
        scale = self.intervals.widening.at(remote)
        for rows, expected in ((elsewhere, self.intervals.nearest), (revised, self.intervals.typical)):
            for row in rows:
                scale[row] = expected
        contributions = Contributions.of(near, squared, pooled.weights, pooled.entries, shown=shown)
        homes = self._estimator.at_home(queries)
        leasts = np.zeros(len(queries))
        for row, own in homes.items():
            bases.mark_measured(row)
            prior_weight[row] = 0.0
            if beside is not None:
                beside[row] = 0.0
            power_w[row] = expected_w[row] = np.average(self.index.power_w[own], weights=self.index.seconds[own])
            scale[row], leasts[row] = self._spread(own)
            total_energy_j[row] = self._measured_total(own)
            contributions.replace(row, self._shares(own))
        ends = self.intervals.ends(to_log(power_w), bases.source, scale, least=leasts if homes else None, beside=beside)
        low_w, high_w = from_log(ends)
        return Estimates(
            power_w=power_w,
            expected_power_w=expected_w,
            total_energy_j=total_energy_j,
            levels=self.intervals.levels,
            low_w=np.minimum(low_w, power_w),
            high_w=np.maximum(high_w, power_w),
            basis=bases.basis,
            prior_weight=prior_weight,
            prior_power_w=prior_power_w,
            neighbour_index=contributions.index,
            neighbour_distance=contributions.distance,
            neighbour_weight=contributions.weight,
        )

    def _measured_total(self, own: list[int]) -> float:
        """Return the mean joules of a job over these entries; NaN where none is one."""
        totals = self.index.total_energy_j[own]
        return float(totals[~np.isnan(totals)].mean()) if not np.isnan(totals).all() else float("nan")

    def _shares(self, own: list[int]) -> list[tuple[int, float, float]]:
        """Return each entry with distance 0 and its share of the measured seconds."""
        seconds = self.index.seconds[own]
        return [(entry, 0.0, share) for entry, share in zip(own, seconds / seconds.sum(), strict=True)]

    def _cluster_doubt(self, clusters: Sequence[str]) -> NDArray[np.float64] | None:
        """Return the standard deviation of the effect of each query's cluster, where none or few of its pods were
        measured; None where there is no doubt.
        """
        if self._doubts is None:
            return None
        doubts = [self._doubts.get(cluster, UNKNOWN_CLUSTER_SPREAD) if cluster else 0.0 for cluster in clusters]
        return np.array(doubts, dtype=np.float64) if any(doubts) else None

    def _totals(self, near: NDArray[np.int64], squared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return joules of a job from those neighbours that are jobs, by the kernel's weights; NaN where none is."""
        if math.isnan(self.prior_total):
            return np.full(len(near), np.nan)
        logs = self._log_total[near]
        jobs = ~np.isnan(logs)
        weights = np.where(jobs, kernel(squared) * self.index.share[near], 0.0)
        pseudo_count = self.pseudo_counts["neighbours"]
        sums = (weights * np.where(jobs, logs, 0.0)).sum(axis=1)
        totals = np.expm1((sums + pseudo_count * self.prior_total) / (weights.sum(axis=1) + pseudo_count))
        return np.where(jobs.any(axis=1), totals, np.nan)

    def _spread(self, entries: list[int]) -> tuple[float, float]:
        """Return how far periods are from the earlier ones of these entries, at the farthest horizon and one ahead; and
        where there are several entries, from one another.
        """
        seconds, logs = self.index.seconds[entries], to_log(self.index.power_w[entries])
        between = np.average((logs - np.average(logs, weights=seconds)) ** 2, weights=seconds)
        far = np.average(self.index.spread[entries] ** 2, weights=seconds)
        ahead = np.average(self.index.next_spread[entries] ** 2, weights=seconds)
        return float(np.sqrt(far + between)), float(least_spread(np.sqrt(ahead + between)))

    def state(self) -> dict[str, Any]:
        """Return the whole model as plain values and numpy arrays: the content of the artifact."""
        return {
            "schema_version": SCHEMA_VERSION,
            **{name: getattr(self, name) for name in _PLAIN},
            "notes": list(self.training_notes),
            "metric": self.metric.state(),
            "pseudo_counts": dict(self.pseudo_counts),
            "prior": self.prior.state(),
            "intervals": self.intervals.state(),
            "mean_factors": self.mean_factors.state(),
            "inverted_file": None if self.inverted_file is None else self.inverted_file.state(),
            "index": entries_state(self.index),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that gave `state`. Refused when it is of another schema or its parts do not fit together."""
        state = {"spec_hash_version": FIRST_VERSION, "label_source": None, "node_types": {}, **state}
        version = state.get("schema_version")
        if version != SCHEMA_VERSION:
            raise Refused(f"model schema {version!r} is not {SCHEMA_VERSION}: train it again with `podpower train`")
        try:
            index, metric = entries_from_state(state["index"]), Metric.from_state(state["metric"])
            if index.vectors.shape[1] != sum(metric.blocks):
                raise Refused("model index and metric differ in width: train it again with `podpower train`")
            model = cls(
                index=index,
                metric=metric,
                inverted_file=None if state["inverted_file"] is None else InvertedFile(**state["inverted_file"]),
                pseudo_counts=checked_pseudo_counts(state["pseudo_counts"]),
                prior=Prior.from_state(state["prior"]),
                intervals=Intervals.from_state(state["intervals"]),
                mean_factors=MeanFactors.from_state(state["mean_factors"]),
                training_notes=tuple(state["notes"]),
                **{name: state[name] for name in _PLAIN} | {name: dict(state[name]) for name in _MAPPINGS},
            )
            model._estimator  # noqa: B018  # made here, where its parts are checked, and once for all threads
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # whatever a foreign state may raise
            raise Refused(f"model state does not fit ({error}): train it again with `podpower train`") from error
        return model


def _doubts(index: MeasuredEntries) -> dict[str, float] | None:
    """Return the standard deviation of each known cluster's effect: none of the largest, less the more was measured.
    None where rows do not name their cluster: they are of the requested one.
    """
    sizes: dict[str, float] = {}
    for cluster, share in zip(index.clusters, index.share.tolist(), strict=True):
        sizes[cluster] = sizes.get(cluster, 0.0) + share
    if "" in sizes or not sizes:
        return None
    largest = max(sizes.values())
    return {c: 0.0 if size == largest else UNKNOWN_CLUSTER_SPREAD / np.sqrt(1.0 + size) for c, size in sizes.items()}


_PLAIN = (
    "neighbours", "prior_total", "similar_within", "half_life_s", "target", "step_seconds", "energy",
    "cluster_effects", "encoder_fingerprint", "metrics", "labels_end_s", "trained_at", "training_size",
    "spec_hash_version", "label_source", "node_types",
)  # fmt: skip
_MAPPINGS = ("cluster_effects", "metrics", "training_size", "node_types")  # of _PLAIN
