"""The one estimator: evidence of each level for any entries, with or without some of what was measured.

Serving gives it all that was measured; training calls it with groups of entries left out, so that what is calibrated is
what is served.
"""

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import Entries, MeasuredEntries, Workload
from podpower.features.names import is_base_image
from podpower.kubernetes.controllers import STATIC_POD
from podpower.model.lookup import Lookup
from podpower.model.metric import Metric, alike_kernel, kernel
from podpower.model.partial_pooling import LEVELS, Evidence, Level, Pooled, PseudoCounts
from podpower.model.scale import to_log
from podpower.model.search import InvertedFile, Search

BASE_IMAGE_FACTOR = 30.0  # a runtime or base image counts so much less: what it runs is somebody's own program
_DEGREES = 4.0  # of freedom of what is assumed of an image's scatter before its workloads are compared
_LEAST_SCATTER = 0.05**2  # of log power within an image; less is rounding
_NONE = -1
_PAIRS_AT_ONCE = 1 << 14  # of vectors that are compared: 16 MB of texts


class Estimator:
    """Log power of entries from those that were measured. Threads may share it."""

    def __init__(
        self,
        entries: MeasuredEntries,
        *,
        metric: Metric,
        neighbours: int,
        inverted_file: InvertedFile | None = None,
        cluster_effects: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """`cluster_effects` are subtracted from log power. ValueError when the inverted file is of other entries."""
        self.entries, self.metric, self.neighbours = entries, metric, neighbours
        self.logs = to_log(entries.power_w) - effects_of(cluster_effects, entries.clusters)
        self.groups: NDArray[np.int64] | None = None
        self.search = Search(entries.vectors, metric.scales(), inverted_file)
        self._texts = metric.texts()
        self._by_spec = Lookup(entries.spec_hashes)
        self._by_workload = Lookup(["\0".join(workload) for workload in entries.workloads])
        self._images = Codes(entries.image_keys)
        self._software = Codes(_software(entries.image_keys, entries.controllers))
        self._image_sums = Sums(self._images, entries.share, self.logs)
        self._software_sums = Sums(self._software, entries.share, self.logs)

    def leaving_out(self, groups: NDArray[np.int64]) -> "Estimator":
        """Return the same estimator that can leave out entries by group: `groups` (n,) number those left
        out together.
        """
        estimator = copy.copy(self)
        estimator.groups = groups
        estimator._image_sums = Sums(self._images, self.entries.share, self.logs, groups)
        estimator._software_sums = Sums(self._software, self.entries.share, self.logs, groups)
        return estimator

    def evidence(
        self, queries: Entries, own_groups: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[Level, Evidence]]:
        """Return positions and squared distances (m, k) of the nearest entries, and the evidence of each level.

        Entries of a query's own group, of `own_groups` (m,), are left out everywhere.
        """
        near, squared = self.search.near(queries.vectors, self.neighbours, groups=self.groups, own_groups=own_groups)
        share = np.where(np.isfinite(squared), self.entries.share[near], 0.0)
        weights = kernel(squared) * share
        levels: dict[Level, Evidence] = {"neighbours": self._weighted(near, weights)}
        keys = [_image_at(self._images, key) for key in queries.image_keys]
        images, software = self._images.find(keys), self._software.find(_software(keys, queries.controllers))
        same_image = (self._images.codes[near] == images[:, None]) & (images >= 0)[:, None]
        same_software = (self._software.codes[near] == software[:, None]) & (software >= 0)[:, None]
        of_software = np.where(same_software, share, 0.0)
        levels["image"] = self._image_sums.evidence(images, own_groups, np.where(same_image, share, 0.0))
        levels["software"] = self._software_sums.evidence(software, own_groups, of_software)
        levels["alike"] = self._alike(queries, near, of_software)
        levels["elsewhere"] = self._of_rows(queries, own_groups, self._elsewhere)
        levels["owner"] = self._of_rows(queries, own_groups, self._former)
        return near, squared, levels

    def pooled(
        self,
        prior_logs: NDArray[np.float64],
        levels: Mapping[Level, Evidence],
        pseudo_counts: PseudoCounts,
        upto: Iterable[Level] = LEVELS,
    ) -> Pooled:
        """Return the estimates: the prior pooled with one level after another."""
        pooled = Pooled.prior(prior_logs, min(self.neighbours, len(self.entries)))
        for level in upto:
            pooled.add(levels[level], pseudo_counts[level])
        return pooled

    def at_home(self, spec_hash: str, workload: Workload, cluster: str) -> list[int]:
        """Return entries of this very spec, workload and, as far as clusters are known, cluster."""
        return [entry for entry in self._by_spec.find(spec_hash) if self._is_of(entry, workload, cluster)]

    def _is_of(self, entry: int, workload: Workload, cluster: str) -> bool:
        known = self.entries.clusters[entry]
        return self.entries.workload(entry) == workload and (not known or not cluster or known == cluster)

    def _weighted(self, near: NDArray[np.int64], weights: NDArray[np.float64]) -> Evidence:
        weighted = (weights * self.logs[near]).sum(axis=1)
        return Evidence(total=weights.sum(axis=1), weighted=weighted, of_neighbours=weights)

    def _alike(self, queries: Entries, near: NDArray[np.int64], same: NDArray[np.float64]) -> Evidence:
        """Return neighbours that are the same software and have nearly the same texts."""
        weights = np.zeros(near.shape)
        if self._texts is not None and near.shape[1]:
            columns, factor = self._texts
            rows, places = np.nonzero(same > 0)
            for start in range(0, len(rows), _PAIRS_AT_ONCE):
                row, place = rows[start : start + _PAIRS_AT_ONCE], places[start : start + _PAIRS_AT_ONCE]
                texts = self.entries.vectors[near[row, place], columns].astype(np.float32)
                apart = (texts - queries.vectors[row, columns].astype(np.float32)) * factor
                weights[row, place] = alike_kernel((apart**2).sum(axis=1).astype(np.float64)) * same[row, place]
        return self._weighted(near, weights)

    def _of_rows(
        self,
        queries: Entries,
        own_groups: NDArray[np.int64] | None,
        found: Callable[[str, Workload, str], list[tuple[int, float]]],
    ) -> Evidence:
        """Return evidence of single entries, looked up row by row."""
        total, weighted = np.zeros(len(queries)), np.zeros(len(queries))
        of_entries: dict[int, list[tuple[int, float]]] = {}
        columns = zip(queries.spec_hashes, queries.workloads, queries.clusters, strict=True)
        for row, (spec_hash, workload, cluster) in enumerate(columns):
            weights = found(spec_hash, workload, cluster)
            if own_groups is not None and self.groups is not None:
                weights = [(e, weight) for e, weight in weights if self.groups[e] != own_groups[row]]
            if weights:
                of_entries[row] = weights
                total[row] = sum(weight for _, weight in weights)
                weighted[row] = sum(weight * float(self.logs[e]) for e, weight in weights)
        return Evidence(total=total, weighted=weighted, of_entries=of_entries)

    def _elsewhere(self, spec_hash: str, workload: Workload, cluster: str) -> list[tuple[int, float]]:
        """Return the same spec in other workloads and clusters."""
        found = self._by_spec.find(spec_hash)
        return [(e, float(self.entries.share[e])) for e in found if not self._is_of(e, workload, cluster)]

    def _former(self, spec_hash: str, workload: Workload, cluster: str) -> list[tuple[int, float]]:
        """Other specs of the workload, which a rollout mostly resembles; those that are better known count more."""
        found = self._by_workload.find("\0".join(workload))
        former = [e for e in found if self.entries.spec_hashes[e] != spec_hash]
        former = [e for e in former if self._is_of(e, workload, cluster)] or former
        most = max((float(self.entries.seconds[e]) for e in former), default=1.0)
        return [(e, float(self.entries.seconds[e]) / most) for e in former]


class Codes:
    """A number for each distinct text; empty texts have none."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._numbers: dict[str, int] = {}
        self.codes = np.array(
            [self._numbers.setdefault(text, len(self._numbers)) if text else _NONE for text in texts], dtype=np.int64
        )

    def __contains__(self, text: str) -> bool:
        return text in self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def find(self, texts: Iterable[str]) -> NDArray[np.int64]:
        """Return the number of each text, -1 where it has none."""
        return np.array([self._numbers.get(text, _NONE) for text in texts], dtype=np.int64)


class Sums:
    """Sums over the entries of each code, with any group taken out of them again.

    How far the workloads of one code scatter, against those of all codes, is estimated with partial pooling: where
    they hardly agree, they count less. Of a base image they are expected not to agree.
    """

    def __init__(
        self,
        codes: Codes,
        share: NDArray[np.float64],
        logs: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        known = codes.codes >= 0
        self._columns = (share, share * logs, share * logs**2)
        self._sums = self._by(codes.codes, len(codes), known)
        within, degrees = _scatter(*self._sums)
        self._typical = float((within.sum() + _DEGREES) / (degrees.sum() + _DEGREES))
        base = np.array([is_base_image(text.partition("\0")[0]) for text in codes], dtype=bool)
        self._expected = np.where(base, BASE_IMAGE_FACTOR, 1.0)
        self._factors = self._factor(within, degrees, self._expected)
        self._pairs: dict[tuple[int, int], int] = {}
        if groups is None:
            return
        pairs = zip(codes.codes.tolist(), groups.tolist(), strict=True)
        number = np.array([self._pairs.setdefault(pair, len(self._pairs)) for pair in pairs], dtype=np.int64)
        self._of_pairs = self._by(number, len(self._pairs), known)

    def _by(self, number: NDArray[np.int64], count: int, at: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.stack([np.bincount(number[at], weights=c[at], minlength=count) for c in self._columns])

    def _factor(
        self, within: NDArray[np.float64], degrees: NDArray[np.float64], expected: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the factor by which entries of this code count less."""
        factor: NDArray[np.float64] = (within / self._typical + _DEGREES * expected) / (degrees + _DEGREES)
        return factor

    def evidence(
        self, codes: NDArray[np.int64], own_groups: NDArray[np.int64] | None, of_neighbours: NDArray[np.float64]
    ) -> Evidence:
        """Return evidence of the entries of each query's code (-1: none) without its own group."""
        there = codes >= 0
        if not there.any():
            nothing = np.zeros(len(codes))
            return Evidence(total=nothing, weighted=nothing)
        sums, factor = np.where(there, self._sums[:, codes], 0.0), self._factors[codes]
        if own_groups is not None:
            pairs = zip(codes.tolist(), own_groups.tolist(), strict=True)
            own = np.array([self._pairs.get(pair, _NONE) for pair in pairs], dtype=np.int64)
            sums = sums - np.where(own >= 0, self._of_pairs[:, own], 0.0)
            sums[:, sums[0] < 1e-9] = 0.0  # differences of sums are not quite zero
            factor = self._factor(*_scatter(*sums), self._expected[codes])
        return Evidence(
            total=sums[0] / factor, weighted=sums[1] / factor, of_neighbours=of_neighbours / factor[:, None]
        )


def _scatter(
    count: NDArray[np.float64], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum of squared deviations from the mean and its degrees of freedom."""
    within = np.maximum(squares - total**2 / np.maximum(count, 1e-9), 0.0)
    degrees = np.maximum(count - 1.0, 0.0)
    return within + _LEAST_SCATTER * degrees, degrees


def _software(image_keys: Sequence[str], controllers: Sequence[str]) -> list[str]:
    """Return image key and controller of each row; empty where the image is unknown. A manifest of a static pod is a
    Pod's.
    """
    plain = ("Pod" if controller == STATIC_POD else controller for controller in controllers)
    return [f"{image}\0{controller}" if image else "" for image, controller in zip(image_keys, plain, strict=True)]


def effects_of(cluster_effects: Mapping[str, float], clusters: Sequence[str]) -> NDArray[np.float64]:
    """Return the effect of each row's cluster; 0 where it is unknown."""
    return np.array([cluster_effects.get(cluster, 0.0) for cluster in clusters], dtype=np.float64)


def is_familiar(levels: Mapping[Level, Evidence]) -> NDArray[np.bool_]:
    """Return whether the same software was measured, in any workload."""
    found: NDArray[np.bool_] = (
        (levels["software"].total > 0) | (levels["elsewhere"].total > 0) | (levels["owner"].total > 0)
    )
    return found


def _image_at(images: Codes, key: str) -> str:
    """Return a known image key; for an unknown one that of which it may be a mirror or a build."""
    return key if not key or key in images else key.rpartition("/")[2]


def numbered(items: Iterable[Hashable]) -> NDArray[np.int64]:
    """Return a number for each distinct item, in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(item, len(numbers)) for item in items], dtype=np.int64)
