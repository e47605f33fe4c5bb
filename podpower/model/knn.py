"""The model: specs whose power is known, and what they tell of a new one.

Power is close to log-normal across workloads, so neighbours are averaged on the log scale; a spec that has labels
itself answers with its own arithmetic mean. Partial pooling (`podpower.model.partial_pooling`) combines them with the
prior.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from podpower.errors import InvalidInput, Refused
from podpower.features.names import same_kind
from podpower.model.estimates import Estimates, Queries, Told, joined, weightiest
from podpower.model.index import Cells, Index, Search, Workload
from podpower.model.intervals import Intervals
from podpower.model.lookup import Lookup
from podpower.model.metric import Metric, alike_kernel, kernel
from podpower.model.partial_pooling import Climb, Masses, remoteness, start
from podpower.model.prior import Prior
from podpower.model.scale import from_log, to_log

SCHEMA_VERSION = 3
_CHUNK_QUERIES = 4096


class KnnModel:
    """A trained model. Make one with `podpower.training.train.train` or `from_state`.

    `target` is what it was tuned on and `metrics` its grouped cross-validation; `step_seconds` the step of its labels,
    `energy` their kind ("dynamic", "total", None: not told), `labels_end_s` the time of its last label, `trained_at` an
    RFC 3339 time, `training_size` counts of rows, examples, specs and workloads. `notes` are sentences on what to know
    before trusting it.
    """

    def __init__(
        self,
        *,
        index: Index,
        cells: Cells | None,
        metric: Metric,
        neighbours: int,
        masses: Masses,
        prior: Prior,
        prior_total: float,
        similar_within: float,
        intervals: Intervals,
        half_life_s: float,
        target: str,
        step_seconds: float,
        energy: str | None,
        encoder_fingerprint: str,
        metrics: Mapping[str, Any],
        labels_end_s: float,
        trained_at: str,
        training_size: Mapping[str, int],
        notes: Sequence[str] = (),
    ) -> None:
        self.index = index
        self.cells = cells
        self.metric = metric
        self.neighbours = neighbours
        self.masses = masses
        self.prior = prior
        self.prior_total = prior_total  # log joules of a job; NaN without jobs
        self.similar_within = similar_within  # more remote, left-out workloads were no better off than with the prior
        self.intervals = intervals
        self.half_life_s = half_life_s
        self.target = target
        self.step_seconds = step_seconds
        self.energy = energy
        self.encoder_fingerprint = encoder_fingerprint
        self.metrics = dict(metrics)
        self.labels_end_s = labels_end_s
        self.trained_at = trained_at
        self.training_size = dict(training_size)
        self.notes = tuple(notes)
        self._scales = metric.scales()
        self._texts = metric.texts()
        self._search = Search(index.vectors, cells)
        self._log_power = to_log(index.power_w)
        self._log_total = np.log1p(index.total_energy_j)
        self._by_spec = Lookup(index.spec_hashes)
        self._by_workload = Lookup(["\0".join(workload) for workload in index.workloads])
        images, self._image = np.unique(np.array(list(index.image_keys), dtype=object), return_inverse=True)
        self._image_codes = {str(key): code for code, key in enumerate(images) if key}
        kinds, self._kind = np.unique(np.array([same_kind(k) for k in index.kinds], dtype=object), return_inverse=True)
        self._kind_codes = {str(kind): code for code, kind in enumerate(kinds)}
        self._image_share = np.bincount(self._image, weights=index.share, minlength=len(images))
        self._image_logs = np.bincount(self._image, weights=index.share * self._log_power, minlength=len(images))

    def with_index(self, index: Index, cells: Cells | None) -> Self:
        """The same model of other entries, whose vectors are in the same metric."""
        plain = {name: getattr(self, name) for name in (*_PLAIN, "metric", "masses", "prior", "intervals", "notes")}
        return type(self)(index=index, cells=cells, **plain)

    @property
    def dim(self) -> int:
        """The width of the vectors it takes."""
        return len(self._scales)

    def predict(self, queries: Queries) -> Estimates:
        """Estimates for m requests; none depends on the others. InvalidInput when the vectors' width is not the
        model's.
        """
        if queries.vectors.ndim != 2 or queries.vectors.shape[1] != self.dim:
            raise InvalidInput(
                f"vectors of shape {queries.vectors.shape} do not fit a model of {self.dim} columns: "
                "use the encoder that the model was trained with"
            )
        parts = [
            self._predict(queries.part(slice(i, i + _CHUNK_QUERIES)))
            for i in range(0, max(1, len(queries)), _CHUNK_QUERIES)
        ]
        return parts[0] if len(parts) == 1 else joined(parts)

    def _predict(self, queries: Queries) -> Estimates:
        vectors = queries.vectors * self._scales
        near, squared = self._search.near(vectors, self.neighbours)
        prior_logs = self.prior.at(to_log(queries.physical_power_w), queries.kinds)
        climb = self._climbed(queries, start(prior_logs, near.shape[1]), vectors, near, squared)
        total_energy_j = self._totals(near, squared)
        remote = remoteness(climb.prior_share, self.masses.neighbours)
        basis = np.where(remote <= self.similar_within, "similar", "prior").astype(object)
        source = basis.copy()  # of the residuals that its interval comes from
        scale = self.intervals.widening.at(remote)
        power_w, prior_weight = from_log(climb.logs), climb.prior_share
        told = weightiest(near, np.sqrt(squared), climb.weights)
        asked = zip(queries.spec_hashes, queries.workloads, queries.clusters, strict=True)
        for row, (spec_hash, workload, cluster) in enumerate(asked):
            own = self._by_spec.find(spec_hash)
            if own:
                basis[row], source[row], prior_weight[row] = "seen", "elsewhere", 0.0
                if at_home := [e for e in own if self._is_of(e, workload, cluster)]:
                    own, source[row] = at_home, "seen"
                seconds = self.index.seconds[own]
                power_w[row] = np.average(self.index.power_w[own], weights=seconds)
                scale[row] = self._spread(own) if at_home else self.intervals.nearest
                totals = self.index.total_energy_j[own]
                total_energy_j[row] = totals[~np.isnan(totals)].mean() if not np.isnan(totals).all() else np.nan
                told.tell(row, [(e, 0.0, s) for e, s in zip(own, seconds / seconds.sum(), strict=True)])
            elif former := self._by_workload.find("\0".join(workload)):
                at_home = [e for e in former if self._is_of(e, workload, cluster)]
                self._from_former(at_home or former, climb, row, told)
                power_w[row] = from_log(climb.logs[row : row + 1])[0]
                basis[row], source[row] = "similar", "revised" if at_home else "similar"
                scale[row] = self.intervals.typical
        logs = to_log(power_w)
        ends = [self.intervals.around(level, logs, source, scale) for level in self.intervals.levels]
        return Estimates(
            power_w=power_w,
            total_energy_j=total_energy_j,
            levels=self.intervals.levels,
            low_w=np.stack([np.minimum(from_log(low), power_w) for low, _ in ends]),
            high_w=np.stack([np.maximum(from_log(high), power_w) for _, high in ends]),
            basis=basis,
            prior_weight=prior_weight,
            prior_power_w=from_log(prior_logs),
            neighbour_index=told.index,
            neighbour_distance=told.distance,
            neighbour_weight=told.weight,
        )

    def _climbed(
        self,
        queries: Queries,
        climb: Climb,
        vectors: NDArray[np.float32],
        near: NDArray[np.int64],
        squared: NDArray[np.float64],
    ) -> Climb:
        """From the prior over the rungs that need no lookup of a workload: neighbours, image, alike."""
        share, logs = self.index.share[near], self._log_power[near]
        weights = kernel(squared) * share
        climb.step(weights.sum(axis=1), (weights * logs).sum(axis=1), self.masses.neighbours, weights)
        codes = np.array([self._image_code(key or "") for key in queries.image_keys], dtype=np.int64)
        if not (codes >= 0).any():
            return climb
        same = np.where((self._image[near] == codes[:, None]) & (codes >= 0)[:, None], share, 0.0)
        total = np.where(codes >= 0, self._image_share[codes], 0.0)
        climb.step(total, np.where(codes >= 0, self._image_logs[codes], 0.0), self.masses.image, same)
        if self._texts is not None and near.shape[1]:
            columns, unscale = self._texts
            kinds = np.array([self._kind_codes.get(kind, -1) for kind in queries.kinds], dtype=np.int64)
            row, place = np.nonzero((same > 0) & (self._kind[near] == kinds[:, None]))
            texts = self.index.vectors[near[row, place], columns].astype(np.float32) * unscale
            apart = ((texts - vectors[row, columns] * unscale) ** 2).sum(axis=1, dtype=np.float64)
            weights = np.zeros(near.shape)
            weights[row, place] = alike_kernel(apart) * share[row, place]
            climb.step(weights.sum(axis=1), (weights * logs).sum(axis=1), self.masses.alike, weights)
        return climb

    def _image_code(self, key: str) -> int:
        """The number of a known image; of one that is not, of what it may be a mirror or a build of; -1: not known."""
        known = self._image_codes.get(key)
        return self._image_codes.get(key.rpartition("/")[2], -1) if known is None else known

    def _from_former(self, former: list[int], climb: Climb, row: int, told: Told) -> None:
        """The rung of the workload's own former specs, which a rollout mostly resembles; the younger count more."""
        known_s = self.index.seconds[former]
        counted = known_s / known_s.max()
        total = float(counted.sum()) + self.masses.owner
        below = self.masses.owner / total
        climb.logs[row] = below * climb.logs[row] + (counted @ self._log_power[former]) / total
        climb.prior_share[row] *= below
        weights = dict(zip(former, (counted / total).tolist(), strict=True))
        apart: dict[int, float] = {}
        for entry, distance, weight in told.row(row):
            weights[entry] = weights.get(entry, 0.0) + weight * below
            apart[entry] = distance
        ordered = sorted(weights, key=lambda entry: -weights[entry])
        told.tell(row, [(entry, apart.get(entry, np.nan), weights[entry]) for entry in ordered])

    def _totals(self, near: NDArray[np.int64], squared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Joules of a job from those neighbours that are jobs, by the kernel's weights; NaN where none is."""
        logs = self._log_total[near]
        jobs = ~np.isnan(logs)
        weights = np.where(jobs, kernel(squared) * self.index.share[near], 0.0)
        mass = self.masses.neighbours
        sums = (weights * np.where(jobs, logs, 0.0)).sum(axis=1)
        totals = np.expm1((sums + mass * self.prior_total) / (weights.sum(axis=1) + mass))
        return np.where(jobs.any(axis=1), totals, np.nan)

    def _spread(self, entries: list[int]) -> float:
        """How far hours lie apart within these entries and, where there are several, between them."""
        seconds, logs = self.index.seconds[entries], self._log_power[entries]
        within = np.average(self.index.spread[entries] ** 2, weights=seconds)
        between = np.average((logs - np.average(logs, weights=seconds)) ** 2, weights=seconds)
        return float(np.sqrt(within + between))

    def _is_of(self, entry: int, workload: Workload, cluster: str | None) -> bool:
        """Whether the entry is of this workload, in this cluster as far as clusters are known."""
        known = self.index.clusters[entry]
        return self.index.workload(entry) == tuple(workload) and (not known or not cluster or known == cluster)

    def state(self) -> dict[str, Any]:
        """Everything, as str, numbers, lists, dicts of them and numpy arrays: what the artifact holds."""
        return {
            "schema_version": SCHEMA_VERSION,
            **{name: getattr(self, name) for name in _PLAIN},
            "notes": list(self.notes),
            "metric": self.metric.state(),
            "masses": self.masses.state(),
            "prior": self.prior.state(),
            "intervals": self.intervals.state(),
            "cells": None if self.cells is None else self.cells.state(),
            "index": self.index.state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The model that gave `state`. Refused when it is of another schema or its parts do not fit together."""
        version = state.get("schema_version")
        if version != SCHEMA_VERSION:
            raise Refused(f"model schema {version!r} is not {SCHEMA_VERSION}: train it again with `podpower train`")
        try:
            index, metric = Index.from_state(state["index"]), Metric.from_state(state["metric"])
            if index.vectors.shape[1] != sum(metric.blocks):
                raise Refused("model index and metric differ in width: train it again with `podpower train`")
            return cls(
                index=index,
                metric=metric,
                cells=None if state["cells"] is None else Cells(**state["cells"]),
                masses=Masses.from_state(state["masses"]),
                prior=Prior.from_state(state["prior"]),
                intervals=Intervals.from_state(state["intervals"]),
                notes=state["notes"],
                **{name: state[name] for name in _PLAIN},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # whatever a foreign state may raise
            raise Refused(f"model state does not fit ({error}): train it again with `podpower train`") from error


_PLAIN = (
    "neighbours", "prior_total", "similar_within", "half_life_s", "target", "step_seconds", "energy",
    "encoder_fingerprint", "metrics", "labels_end_s", "trained_at", "training_size",
)  # fmt: skip
