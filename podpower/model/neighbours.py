"""The model: specs whose power is known, and a kernel-weighted mean of those near a new one.

Power is close to log-normal across workloads, so neighbours are averaged on the log scale; a spec that has labels
itself answers with its own arithmetic mean. Where neighbours are far, their weight fades and the prior, the mean over
all workloads, takes over: a far neighbour is not evidence.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from podpower.errors import InvalidInput, Refused
from podpower.model.intervals import Intervals

SCHEMA_VERSION = 1
# Added to watts before the logarithm: one joule in a minute. Below it the counters' resolution decides, not the pod.
FLOOR_W = 1.0 / 60.0
EXPLAINED_NEIGHBOURS = 10
_CHUNK_CELLS = 1 << 24  # distances held at a time: 64 MB of float32

Workload = tuple[str, str, str]


def to_log(power_w: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scale on which neighbours are averaged: log(power + FLOOR_W)."""
    logs: NDArray[np.float64] = np.log(power_w + FLOOR_W)
    return logs


def from_log(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Watts, never negative, of `to_log`."""
    power_w: NDArray[np.float64] = np.maximum(np.exp(logs) - FLOOR_W, 0.0)
    return power_w


@dataclass(frozen=True, kw_only=True)
class Index:
    """The n known entries, one for each (spec, workload): vectors (n, dim) float32, mean watts, mean joules of a job
    (NaN: not one), known seconds, `share`, one over the number of entries of the workload, so that a workload with
    many revisions counts once, and `spread`, how far (in log) hours of the entry lie from one another.
    """

    vectors: NDArray[np.float32]
    spec_hashes: Sequence[str]
    workloads: Sequence[Workload]
    image_keys: Sequence[str | None]
    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    seconds: NDArray[np.float64]
    share: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.power_w)

    def take(self, positions: NDArray[np.int64]) -> "Index":
        """The entries at `positions`, in that order."""
        return Index(
            vectors=self.vectors[positions],
            spec_hashes=[self.spec_hashes[i] for i in positions],
            workloads=[self.workloads[i] for i in positions],
            image_keys=[self.image_keys[i] for i in positions],
            power_w=self.power_w[positions],
            total_energy_j=self.total_energy_j[positions],
            seconds=self.seconds[positions],
            share=self.share[positions],
            spread=self.spread[positions],
        )


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """How neighbours are weighed: exp(-(distance / bandwidth)^2 / 2) of the `neighbours` nearest, against a prior
    that weighs as much as `prior_mass` neighbours at distance 0.
    """

    neighbours: int
    bandwidth: float
    prior_mass: float

    def weights(self, squared_distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights in [0, 1] of squared distances."""
        weights: NDArray[np.float64] = np.exp(squared_distances / (-2.0 * self.bandwidth**2))
        return weights


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Predictions for m requests, each for one pod, in arrays of length m (neighbours: (m, k), nearest first).

    `neighbour_index` points into the model's index (-1: none), `neighbour_weight` is the share in the prediction;
    what is missing to 1 came from the prior or from neighbours beyond the first k. `basis` is "seen", "similar" or
    "prior". `total_energy_j` is NaN where no neighbour is a job. 0 <= low_w <= power_w <= high_w.
    """

    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    low_w: NDArray[np.float64]
    high_w: NDArray[np.float64]
    basis: NDArray[np.object_]
    neighbour_index: NDArray[np.int64]
    neighbour_distance: NDArray[np.float64]
    neighbour_weight: NDArray[np.float64]


class KnnModel:
    """A trained model. Make one with `podpower.model.training.train` or `from_state`.

    `target` is what it was tuned on and `metrics` its grouped cross-validation; `step_seconds` the step of its labels,
    `energy` their kind ("dynamic", "total", None: not told), `trained_at` an RFC 3339 time, `training_size` counts of
    rows, examples, specs and workloads. `notes` are sentences on what to know before trusting it.
    """

    def __init__(
        self,
        *,
        index: Index,
        kernel: Kernel,
        prior_power: float,
        prior_total: float,
        similar_distance: float,
        intervals: Intervals,
        target: str,
        step_seconds: float,
        energy: str | None,
        encoder_fingerprint: str,
        metrics: Mapping[str, Any],
        trained_at: str,
        training_size: Mapping[str, int],
        notes: Sequence[str] = (),
    ) -> None:
        self.index = index
        self.kernel = kernel
        self.prior_power = prior_power  # log scale of to_log
        self.prior_total = prior_total  # log joules of a job; NaN without jobs
        self.similar_distance = similar_distance  # beyond it, left-out workloads were no better off than with the prior
        self.intervals = intervals
        self.target = target
        self.step_seconds = step_seconds
        self.energy = energy
        self.encoder_fingerprint = encoder_fingerprint
        self.metrics = dict(metrics)
        self.trained_at = trained_at
        self.training_size = dict(training_size)
        self.notes = tuple(notes)
        self._log_power = to_log(index.power_w)
        self._log_total = np.log1p(index.total_energy_j)
        self._norms = np.einsum("ij,ij->i", index.vectors, index.vectors, dtype=np.float64)
        self._entries: dict[str, list[int]] = defaultdict(list)
        for entry, spec_hash in enumerate(index.spec_hashes):
            self._entries[spec_hash].append(entry)

    def predict(
        self, vectors: NDArray[np.float32], spec_hashes: Sequence[str], workloads: Sequence[Workload]
    ) -> Estimates:
        """Estimates for m requests: vectors (m, dim) of the encoder with `encoder_fingerprint`, their spec hashes and
        (namespace, kind, name). InvalidInput when the vectors' width is not the model's.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.index.vectors.shape[1]:
            raise InvalidInput(
                f"vectors of shape {vectors.shape} do not fit a model of {self.index.vectors.shape[1]} columns: "
                "use the encoder that the model was trained with"
            )
        rows = max(1, _CHUNK_CELLS // len(self.index))
        parts = [
            self._predict_chunk(vectors[i : i + rows], spec_hashes[i : i + rows], workloads[i : i + rows])
            for i in range(0, max(1, len(vectors)), rows)
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _predict_chunk(
        self, vectors: NDArray[np.float32], spec_hashes: Sequence[str], workloads: Sequence[Workload]
    ) -> Estimates:
        near, squared = nearest(squared_distances(vectors, self.index.vectors, self._norms), self.kernel.neighbours)
        weights = self.kernel.weights(squared) * self.index.share[near]
        mass = weights.sum(axis=1)
        prior_mass = self.kernel.prior_mass
        logs = shrunk_mean(weights, self._log_power[near], self.prior_power, prior_mass)
        total_energy_j = self._totals(weights, near)
        basis = np.where(squared[:, 0] <= self.similar_distance**2, "similar", "prior").astype(object)
        shown = min(EXPLAINED_NEIGHBOURS, near.shape[1])
        index, distance = near[:, :shown].copy(), np.sqrt(squared[:, :shown])
        weight = weights[:, :shown] / (mass + prior_mass)[:, None]
        power_w = from_log(logs)
        spread = np.ones(len(vectors))
        for row, (spec_hash, workload) in enumerate(zip(spec_hashes, workloads, strict=True)):
            own = self._own_entries(spec_hash, workload)
            if own:
                basis[row] = "seen"
                seconds = self.index.seconds[own]
                power_w[row] = np.average(self.index.power_w[own], weights=seconds)
                spread[row] = self._spread(own)
                totals = self.index.total_energy_j[own]
                total_energy_j[row] = totals[~np.isnan(totals)].mean() if not np.isnan(totals).all() else np.nan
                index[row], distance[row], weight[row] = -1, np.nan, 0.0
                index[row, : len(own)] = own[:shown]
                distance[row, : len(own)] = 0.0
                weight[row, : len(own)] = (seconds / seconds.sum())[:shown]
        low, high = self.intervals.around(to_log(power_w), basis, spread)
        return Estimates(
            power_w=power_w,
            total_energy_j=total_energy_j,
            low_w=np.minimum(from_log(low), power_w),
            high_w=np.maximum(from_log(high), power_w),
            basis=basis,
            neighbour_index=index,
            neighbour_distance=distance,
            neighbour_weight=weight,
        )

    def _totals(self, weights: NDArray[np.float64], near: NDArray[np.int64]) -> NDArray[np.float64]:
        """Joules of a job from those neighbours that are jobs, by the same weights; NaN where none is."""
        logs = self._log_total[near]
        jobs = ~np.isnan(logs)
        weights = np.where(jobs, weights, 0.0)
        totals = np.expm1(shrunk_mean(weights, np.where(jobs, logs, 0.0), self.prior_total, self.kernel.prior_mass))
        return np.where(jobs.any(axis=1), totals, np.nan)

    def _spread(self, entries: list[int]) -> float:
        """How far hours lie apart within these entries and, where there are several, between them."""
        seconds, logs = self.index.seconds[entries], self._log_power[entries]
        within = np.average(self.index.spread[entries] ** 2, weights=seconds)
        between = np.average((logs - np.average(logs, weights=seconds)) ** 2, weights=seconds)
        return float(np.sqrt(within + between))

    def _own_entries(self, spec_hash: str, workload: Workload) -> list[int]:
        """The entries of this spec in this workload, else of this spec in any."""
        entries = self._entries.get(spec_hash, [])
        return [e for e in entries if self.index.workloads[e] == tuple(workload)] or entries

    def state(self) -> dict[str, Any]:
        """Everything, as str, numbers, lists, dicts of them and numpy arrays: what the artifact holds."""
        return {
            "schema_version": SCHEMA_VERSION,
            "target": self.target,
            "step_seconds": self.step_seconds,
            "energy": self.energy,
            "encoder_fingerprint": self.encoder_fingerprint,
            "metrics": self.metrics,
            "trained_at": self.trained_at,
            "training_size": self.training_size,
            "notes": list(self.notes),
            "kernel": {
                "neighbours": self.kernel.neighbours,
                "bandwidth": self.kernel.bandwidth,
                "prior_mass": self.kernel.prior_mass,
            },
            "prior_power": self.prior_power,
            "prior_total": self.prior_total,
            "similar_distance": self.similar_distance,
            "intervals": self.intervals.state(),
            "index": {
                "vectors": self.index.vectors,
                "spec_hashes": list(self.index.spec_hashes),
                "workloads": [list(workload) for workload in self.index.workloads],
                "image_keys": list(self.index.image_keys),
                "power_w": self.index.power_w,
                "total_energy_j": self.index.total_energy_j,
                "seconds": self.index.seconds,
                "share": self.index.share,
                "spread": self.index.spread,
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The model that gave `state`. Refused when it is of another schema or its parts do not fit together."""
        version = state.get("schema_version")
        if version != SCHEMA_VERSION:
            raise Refused(f"model schema {version!r} is not {SCHEMA_VERSION}: train it again with `podpower train`")
        try:
            stored = dict(state["index"])
            stored["workloads"] = [tuple(workload) for workload in stored["workloads"]]
            index = Index(**stored)
            if len({len(column) for column in stored.values()}) != 1 or not len(index) or index.vectors.ndim != 2:
                raise Refused("model index is inconsistent: train it again with `podpower train`")
            return cls(
                index=index,
                kernel=Kernel(**state["kernel"]),
                intervals=Intervals.from_state(state["intervals"]),
                **{name: state[name] for name in _PLAIN},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # whatever a foreign state may raise
            raise Refused(f"model state does not fit ({error}): train it again with `podpower train`") from error


_PLAIN = (
    "prior_power", "prior_total", "similar_distance", "target", "step_seconds", "energy", "encoder_fingerprint",
    "metrics", "trained_at", "training_size", "notes",
)  # fmt: skip


def nearest(squared: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of squared distances (m, n) the positions and values of each row's `count` least, (m, count), nearest first.

    Ties go to the lower position, so that order is the same everywhere.
    """
    count = min(count, squared.shape[1])
    if count < squared.shape[1]:
        near = np.argpartition(squared, count - 1, axis=1)[:, :count]
        near.sort(axis=1)
    else:
        near = np.broadcast_to(np.arange(count), squared.shape)
    found = np.take_along_axis(squared, near, axis=1)
    order = np.argsort(found, axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(found, order, axis=1)


def squared_distances(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], norms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared Euclidean distances (m, n) by one matrix product, never negative."""
    own = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
    squared: NDArray[np.float64] = own[:, None] + norms[None, :] - 2.0 * (queries @ vectors.T)
    np.maximum(squared, 0.0, out=squared)
    return squared


def shrunk_mean(
    weights: NDArray[np.float64], values: NDArray[np.float64], prior: float | NDArray[np.float64], prior_mass: float
) -> NDArray[np.float64]:
    """Weighted means (m,) of values (m, k), pulled to `prior` by `prior_mass`."""
    means: NDArray[np.float64] = ((weights * values).sum(axis=1) + prior_mass * prior) / (
        weights.sum(axis=1) + prior_mass
    )
    return means


def _joined(parts: Sequence[Estimates]) -> Estimates:
    names = Estimates.__dataclass_fields__
    return Estimates(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
