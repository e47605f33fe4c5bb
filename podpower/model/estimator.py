"""The one estimator: evidence of each level for any entries, with or without some of what was measured.

Serving gives it all that was measured; training calls it with groups of entries left out, so that what is calibrated is
what is served.
"""

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
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
_NONE, _NO_TEXT = -1, -2  # the number of a text that no entry has, and of an entry without a text
_SAME_SOFTWARE: tuple[Level, ...] = ("software", "elsewhere", "owner")
_PAIRS_AT_ONCE = 1 << 11  # of vectors that are compared: 2 MB of texts, which stay in the processor's cache


class Estimator:
    """Log power of entries from those that were measured. Threads may share it."""

    def __init__(
        self,
        entries: MeasuredEntries,
        *,
        metric: Metric,
        neighbours: int,
        inverted_file: InvertedFile | None = None,
        search: Search | None = None,
        cluster_effects: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """`cluster_effects` are subtracted from log power; `search` is that of the entries, where there is one already.
        ValueError when the inverted file is of other entries.
        """
        self.entries, self.metric, self.neighbours = entries, metric, neighbours
        self.logs = to_log(entries.power_w) - effects_of(cluster_effects, entries.clusters)
        self.groups: NDArray[np.int64] | None = None
        self.search = search or Search(entries.vectors, metric.scales(), inverted_file)
        self._texts = metric.texts()
        self._by_spec = Lookup(entries.spec_hashes)
        self._by_workload = Lookup(["\0".join(workload) for workload in entries.workloads])
        self._images = Codes(entries.image_keys)
        self._software = Codes(_software(entries.image_keys, entries.controllers))
        self._image_sums = Sums(self._images, entries.share, self.logs)
        self._software_sums = Sums(self._software, entries.share, self.logs)

    def with_effects(self, cluster_effects: Mapping[str, float]) -> "Estimator":
        """Return the same estimator with `cluster_effects`; both share one search."""
        estimator = copy.copy(self)
        estimator.logs = to_log(self.entries.power_w) - effects_of(cluster_effects, self.entries.clusters)
        estimator._image_sums = Sums(self._images, self.entries.share, estimator.logs)
        estimator._software_sums = Sums(self._software, self.entries.share, estimator.logs)
        return estimator

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
        share, logs = self.entries.share.take(near), self.logs.take(near)
        if self.search.finds_fewer or self.groups is not None:
            share = np.where(np.isfinite(squared), share, 0.0)
        levels: dict[Level, Evidence] = {"neighbours": _weighted(kernel(squared) * share, logs)}
        keys = self._images.nearest(queries.image_keys)
        images, software = self._images.find(keys), self._software.find(_software(keys, queries.controllers))
        levels["image"] = self._image_sums.evidence(images, own_groups, self._images.same(near, images), share)
        same = self._software.same(near, software)
        levels["software"] = self._software_sums.evidence(software, own_groups, same, share)
        levels["alike"] = self._alike(queries, near, same, share, logs)
        of_spec = self._by_spec.find_all(queries.spec_hashes)
        of_workload = self._by_workload.find_all(map("\0".join, queries.workloads))
        levels["elsewhere"] = self._of_rows(queries, own_groups, of_spec, self._elsewhere)
        levels["owner"] = self._of_rows(queries, own_groups, of_workload, self._former)
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

    def has_spec(self, spec_hash: str) -> bool:
        """Return True if an entry has this spec."""
        return bool(self._by_spec.find(spec_hash))

    def at_home(self, queries: Entries) -> dict[int, list[int]]:
        """Return the entries of the very spec, workload and, as far as clusters are known, cluster of each query that
        has some, by its row.
        """
        homes = {}
        for row, found in self._by_spec.find_all(queries.spec_hashes).items():
            workload, cluster = queries.workload(row), queries.clusters[row]
            if own := [entry for entry in found if self._is_of(entry, workload, cluster)]:
                homes[row] = own
        return homes

    def _is_of(self, entry: int, workload: Workload, cluster: str) -> bool:
        known = self.entries.clusters[entry]
        return self.entries.workload(entry) == workload and (not known or not cluster or known == cluster)

    def _alike(
        self,
        queries: Entries,
        near: NDArray[np.int64],
        same: NDArray[np.bool_] | None,
        share: NDArray[np.float64],
        logs: NDArray[np.float64],
    ) -> Evidence:
        """Return neighbours that are the `same` software and have nearly the same texts."""
        if self._texts is None or same is None or not np.count_nonzero(same):
            return Evidence.nothing(len(near))
        rows, places = same.nonzero()
        weights, (columns, factor) = np.zeros(near.shape), self._texts
        for start in range(0, len(rows), _PAIRS_AT_ONCE):
            row, place = rows[start : start + _PAIRS_AT_ONCE], places[start : start + _PAIRS_AT_ONCE]
            texts = self.entries.vectors[near[row, place], columns].astype(np.float32, copy=False)
            apart = texts - queries.vectors[row, columns].astype(np.float32, copy=False)
            apart *= factor
            squared = np.einsum("ij,ij->i", apart, apart).astype(np.float64)
            weights[row, place] = alike_kernel(squared) * share[row, place]
        return _weighted(weights, logs)

    def _of_rows(
        self,
        queries: Entries,
        own_groups: NDArray[np.int64] | None,
        found: Mapping[int, list[int]],
        weigh: Callable[[list[int], str, Workload, str], list[tuple[int, float]]],
    ) -> Evidence:
        """Return evidence of single entries: those `found` for each row, weighed."""
        of_entries: dict[int, list[tuple[int, float]]] = {}
        for row, entries in found.items():
            weights = weigh(entries, queries.spec_hashes[row], queries.workload(row), queries.clusters[row])
            if own_groups is not None and self.groups is not None:
                weights = [(e, weight) for e, weight in weights if self.groups[e] != own_groups[row]]
            if weights:
                of_entries[row] = weights
        if not of_entries:
            return Evidence.nothing(len(queries))
        total, weighted = np.zeros(len(queries)), np.zeros(len(queries))
        for row, weights in of_entries.items():
            total[row] = sum(weight for _, weight in weights)
            weighted[row] = sum(weight * float(self.logs[e]) for e, weight in weights)
        return Evidence(total=total, weighted=weighted, of_entries=of_entries)

    def _elsewhere(
        self, found: list[int], _spec_hash: str, workload: Workload, cluster: str
    ) -> list[tuple[int, float]]:
        """Return the same spec in other workloads and clusters."""
        return [(e, float(self.entries.share[e])) for e in found if not self._is_of(e, workload, cluster)]

    def _former(self, found: list[int], spec_hash: str, workload: Workload, cluster: str) -> list[tuple[int, float]]:
        """Return other specs of the workload, which a rollout mostly resembles; the better known count more."""
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
        self._of_entries = np.where(self.codes < 0, _NO_TEXT, self.codes)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def nearest(self, keys: Iterable[str]) -> list[str]:
        """Return known image keys as they are; for an unknown one that of which it may be a mirror or a build."""
        numbers = self._numbers
        return [key if key in numbers or not key else key.rpartition("/")[2] for key in keys]

    def find(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Return the number of each text, -1 where it has none; None where none has one."""
        numbers = [self._numbers.get(text, _NONE) for text in texts]
        return np.array(numbers, dtype=np.int64) if max(numbers, default=_NONE) != _NONE else None

    def same(self, entries: NDArray[np.int64], codes: NDArray[np.int64] | None) -> NDArray[np.bool_] | None:
        """Return for `entries` (m, k) whether each is of its row's number, of `codes` (m,); None where no row has
        one.
        """
        return None if codes is None else self._of_entries.take(entries) == codes[:, None]


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
        factors = self._factor(within, degrees, self._expected)
        # Of no number, -1, nothing: the last of each.
        self._factors = np.append(factors, 1.0)
        self._totals, self._weighted = (np.append(sums / factors, 0.0) for sums in self._sums[:2])
        self._codes, self._pairs = len(codes), np.zeros(0, dtype=np.int64)
        if groups is None:
            return
        self._pairs, number = np.unique(self._pair(codes.codes, groups), return_inverse=True)
        self._of_pairs = self._by(number, len(self._pairs), known)

    def _pair(self, codes: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return one number for each pair of a code (-1: none) and a group."""
        pairs: NDArray[np.int64] = groups * (self._codes + 1) + codes + 1
        return pairs

    def _by(self, number: NDArray[np.int64], count: int, at: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.stack([np.bincount(number[at], weights=c[at], minlength=count) for c in self._columns])

    def _factor(
        self, within: NDArray[np.float64], degrees: NDArray[np.float64], expected: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the factor by which entries of this code count less."""
        factor: NDArray[np.float64] = (within / self._typical + _DEGREES * expected) / (degrees + _DEGREES)
        return factor

    def evidence(
        self,
        codes: NDArray[np.int64] | None,
        own_groups: NDArray[np.int64] | None,
        same: NDArray[np.bool_] | None,
        share: NDArray[np.float64],
    ) -> Evidence:
        """Return evidence of the entries of each query's code (-1: none) without its own group.

        `same` (m, k) are the neighbours of that code, `share` (m, k) the shares of all neighbours.
        """
        if codes is None or same is None:
            return Evidence.nothing(len(share))
        of_neighbours = same * share
        if own_groups is None:
            of_neighbours = of_neighbours / self._factors.take(codes)[:, None]
            return Evidence(self._totals.take(codes), self._weighted.take(codes), of_neighbours)
        pairs = self._pair(codes, own_groups)
        own = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        of_own = np.where(self._pairs[own] == pairs, self._of_pairs[:, own], 0.0)
        sums = np.where(codes >= 0, self._sums[:, codes], 0.0) - of_own
        sums[:, sums[0] < 1e-9] = 0.0  # differences of sums are not quite zero
        factor = self._factor(*_scatter(*sums), self._expected[codes])
        return Evidence(sums[0] / factor, sums[1] / factor, of_neighbours / factor[:, None])


def _scatter(
    count: NDArray[np.float64], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum of squared deviations from the mean and its degrees of freedom."""
    within = np.maximum(squares - total**2 / np.maximum(count, 1e-9), 0.0)
    degrees = np.maximum(count - 1.0, 0.0)
    return within + _LEAST_SCATTER * degrees, degrees


def _weighted(weights: NDArray[np.float64], logs: NDArray[np.float64]) -> Evidence:
    """Return evidence of neighbours from their weights and log power, both (m, k)."""
    return Evidence(np.add.reduce(weights, axis=1), np.vecdot(weights, logs), weights)


def _software(image_keys: Sequence[str], controllers: Sequence[str]) -> list[str]:
    """Return image key and controller of each row; empty where the image is unknown. A manifest of a static pod is a
    Pod's.
    """
    plain = ("Pod" if controller == STATIC_POD else controller for controller in controllers)
    return [f"{image}\0{controller}" if image else "" for image, controller in zip(image_keys, plain, strict=True)]


def effects_of(cluster_effects: Mapping[str, float], clusters: Sequence[str]) -> NDArray[np.float64]:
    """Return the effect of each row's cluster; 0 where it is unknown."""
    if not cluster_effects:
        return np.zeros(len(clusters))
    return np.array([cluster_effects.get(cluster, 0.0) for cluster in clusters], dtype=np.float64)


def is_familiar(levels: Mapping[Level, Evidence]) -> NDArray[np.bool_]:
    """Return whether the same software was measured, in any workload."""
    totals = [levels[level].total for level in _SAME_SOFTWARE if not levels[level].is_nothing]
    familiar: NDArray[np.bool_] = reduce(np.add, totals, np.zeros(len(levels["software"].total))) > 0
    return familiar


def numbered(items: Iterable[Hashable]) -> NDArray[np.int64]:
    """Return a number for each distinct item, in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(item, len(numbers)) for item in items], dtype=np.int64)
