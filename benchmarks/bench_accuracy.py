"""How good predictions are, each figure beside its goal: `bench_accuracy.py [SPECS.ndjson LABELS.parquet]`.

On simulated clusters, and on a real one where its two files are given (or PODPOWER_REAL_SPECS and
PODPOWER_REAL_LABELS name them). `--seeds 2` takes fewer clusters, `--folder` keeps the simulated ones, `--only` takes
some of the sections. Behind each figure is its 95 % bootstrap interval over workloads (over clusters or start hours
where it is a mean of these); behind any other coverage the range in which chance leaves an honest 80 % interval. A
missed goal that the bootstrap interval reaches is "within error". Exits with 1 where a goal is missed by more.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from quality.data import Data, Simulations, read, training_set
from quality.judge import Figure, bootstrap, coverage, mean_coverage, paired, shown, shown_coverage, within

from podpower.cli.output import note, table
from podpower.datasets.entries import Entries, Workload
from podpower.datasets.training_set import TrainingSet
from podpower.evaluation.evaluate import evaluate
from podpower.evaluation.names import UNSEEN
from podpower.evaluation.results import PodResult, SplitReport
from podpower.evaluation.scores import score
from podpower.features.names import main_image_key
from podpower.model.predictor import Predictor
from podpower.model.scale import FLOOR_W
from podpower.model.totals import Summand, shared_correlation, total_power
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.sidecars import main_container
from podpower.training.groups import linked_groups
from podpower.training.train import train, train_examples

BASELINES = ("image mean", "constant", "physical estimate")
SIZES = (40, 400)
HORIZONS = (1, 3, 6, 12)  # hours
SMALL_CLUSTERS = 4  # times as many of 40 workloads as of 400 for totals: each has too few workloads for a figure
NAMES = ("my-app", "svc-x", "first", "blue-team")  # of the manifests, which say nothing
HOUR_S = 3600.0


class Bench:
    """All figures on these clusters."""

    def __init__(self, simulations: Simulations, real: Data | None, *, seeds: int) -> None:
        self._simulations, self._real, self._seeds = simulations, real, range(1, seeds + 1)
        self._unseen = cache(self._evaluated)

    def minimal_manifests(self) -> Iterator[Figure]:
        """Kind, image and another name, of software that was measured."""
        if self._real is None:
            return
        rows, encoder = self._real.training_set(), self._real.encoder()
        model = train(rows)
        containers = [(r, main_container(r.containers) or r.containers[0]) for r in self._real.requests]
        images = {main_image_key(request): container.image for request, container in containers}
        index, asked, watts = model.index, [], []
        for entry in range(len(index)):
            if not index.image_keys[entry]:
                continue
            container = Container(name="main", image=images[index.image_keys[entry]])
            kind = "Pod" if index.controllers[entry] == "StaticPod" else index.controllers[entry]
            name = f"{NAMES[entry % len(NAMES)]}-{entry}"
            asked.append(InferenceRequest(workload_kind=kind, workload_name=name, containers=[container]))
            watts.append(index.power_w[entry])
        found = Predictor(encoder, model, version="bench").predict(asked)
        measured, predicted = np.array(watts), np.array([p.pred_avg_power_w for p in found])
        expected = np.array([p.expected_avg_power_w for p in found])
        of = f"real, {len(asked)} minimal manifests"
        yield within(f"{of}: WAPE", wape(measured, predicted), high=0.20, interval=bootstrap(wape, measured, predicted))
        yield within(
            f"{of}: sum", ratio(measured, expected), low=0.85, high=1.15, interval=bootstrap(ratio, measured, expected)
        )

    def unseen_workloads(self) -> Iterator[Figure]:
        """Left out one by one."""
        if self._real is None:
            return
        split = self._unseen("real")
        measured, predicted, expected = columns(split.pods)
        groups = numbered(split.pods)
        for name, of, values, low, high in (
            ("log R2", log_r2, predicted, 0.31, np.inf),
            ("rank correlation", rank, predicted, 0.5, np.inf),
            ("sum", ratio, expected, 0.8, 1.25),
        ):
            interval = bootstrap(of, measured, values, groups=groups)
            yield within(f"real, unseen: {name}", of(measured, values), low=low, high=high, interval=interval)

    def baselines(self) -> Iterator[Figure]:
        """WAPE of unseen workloads minus that of each baseline, paired by workload."""
        groups = {f"{size} simulated": [f"{size}-6-{seed}" for seed in self._seeds] for size in SIZES}
        if self._real is not None:
            groups = {"real": ["real"]} | groups
        for name, clusters in groups.items():
            for baseline in BASELINES:
                differences = [by_workload(self._unseen(cluster), baseline) for cluster in clusters]
                yield paired(f"{name}, unseen: WAPE less that of the {baseline}", differences)

    def intervals(self) -> Iterator[Figure]:
        """Coverage of 80 % intervals."""
        if self._real is not None:
            score_ = self._unseen("real").scores["podpower"]
            yield coverage("real, unseen: in 80%", score_.coverage, score_.count, low=0.75, high=0.88)
        for size in SIZES:
            scores = [self._unseen(f"{size}-6-{seed}").scores["podpower"] for seed in self._seeds]
            count = sum(len(set(numbered(self._unseen(f"{size}-6-{seed}").pods))) for seed in self._seeds)
            mean = float(np.mean([s.coverage for s in scores]))
            yield coverage(f"{size} simulated, unseen: in 80%", mean, count, low=0.75, high=0.88)
        forward = {hours: self._forward(hours) for hours in HORIZONS}
        horizons = ", ".join(map(str, HORIZONS))
        starts = [float(np.mean(parts)) for parts in zip(*(found for found, _ in forward.values()), strict=True)]
        yield mean_coverage(f"forward, mean over start hours and {horizons} h: in 80%", starts, low=0.75, high=0.97)
        for hours, (found, count) in forward.items():
            yield shown_coverage(
                f"forward, {hours} h from {hours} h, mean over start hours: in 80%", float(np.mean(found)), count
            )
        yield self._second_cluster()

    def _forward(self, hours: int) -> tuple[list[float], int]:
        """Return the coverage by start hour, and the number of known workloads over all of them."""
        found, count = list[float](), 0
        for seed in [s for s in self._seeds if s <= 2]:
            rows = self._simulations.get(workloads=40, hours=48, seed=seed).training_set()
            first_s, _ = rows.range_s
            for start in range(0, 24, 3):
                begin_s = first_s - 1 + start * HOUR_S
                cut_s, end_s = begin_s + hours * HOUR_S, begin_s + 2 * hours * HOUR_S
                model = train(rows.where((pl.col("ts") > begin_s) & (pl.col("ts") <= cut_s)))
                pods = rows.where((pl.col("ts") > cut_s) & (pl.col("ts") <= end_s)).pods()
                estimates = model.predict(pods.queries())
                low, high = estimates.interval()
                seen = estimates.basis == "seen"
                weights = 1.0 / np.bincount(pods.entry)[pods.entry]
                inside = (low <= pods.power_w) & (pods.power_w <= high)
                found.append(float(np.average(inside[seen], weights=weights[seen])))
                count += len(np.unique(pods.entry[seen]))
        return found, count

    def _second_cluster(self) -> Figure:
        found, count = [], 0
        for one, other in ((1, 7), (7, 1), (2, 3), (4, 5)):
            clusters = [self._simulations.get(workloads=40, hours=6, seed=seed) for seed in (one, other)]
            rows = training_set(clusters)
            there = pl.col("cluster") == clusters[1].name
            model, pods = train(rows.where(~there)), rows.where(there).pods()
            low, high = model.predict(pods.queries()).interval()
            weights = 1.0 / np.bincount(pods.entry)[pods.entry]
            inside = (low <= pods.power_w) & (pods.power_w <= high)
            found.append(float(np.average(inside, weights=weights)))
            count += len(np.unique(pods.entry))
        return coverage("another simulated cluster: in 80%", float(np.mean(found)), count, low=0.75, high=0.88)

    def totals(self) -> Iterator[Figure]:
        """80 % intervals of totals over random groups of workloads that were held out by half."""
        small = range(1, SMALL_CLUSTERS * len(self._seeds) + 1)
        kinds = {
            f"{size} simulated": [f"{size}-6-{seed}" for seed in (small if size == SIZES[0] else self._seeds)]
            for size in SIZES
        }
        if self._real is not None:
            kinds = {"real": ["real"]} | kinds
        for name, clusters in kinds.items():
            inside, draws, of_clusters = Counter[int](), Counter[int](), list[float]()
            splits = 20 if name == "real" else 8 if len(clusters) > len(self._seeds) else 4
            for cluster in clusters:
                before = sum(inside.values()), sum(draws.values())
                self._totals_of(self._rows(cluster), splits=splits, inside=inside, draws=draws)
                of_clusters.append((sum(inside.values()) - before[0]) / (sum(draws.values()) - before[1]))
            # Groups of one split share its errors: chance is that of the splits times the sizes.
            count, of = splits * len(clusters), f"{name}, totals of 5 to 20: in 80%"
            if len(clusters) > 1:
                yield mean_coverage(f"{of}, {len(clusters)} clusters", of_clusters, low=0.75, high=0.88)
            else:
                yield coverage(of, of_clusters[0], count * len(draws), low=0.75, high=0.88)
            for size in draws:
                yield shown_coverage(f"{name}, totals of {size}: in 80%", inside[size] / draws[size], count)

    def _totals_of(self, rows: TrainingSet, *, splits: int, inside: Counter[int], draws: Counter[int]) -> None:
        examples, pods = rows.examples(), rows.pods()
        linked = linked_groups(examples.entries.workloads, examples.entries.spec_hashes)
        rng = np.random.default_rng(1)
        for _ in range(splits):
            held = rng.random(linked.max() + 1) < 0.5
            model = train_examples(examples.take(~held[linked][examples.entry]))
            part = pods.take(held[linked][pods.entry])
            first = np.unique(part.entry, return_index=True)[1]
            part = part.take(first)
            estimates, shared = model.predict(part.queries()), shared_correlation(model.training_size["workloads"])
            summands = [summand(estimates, row, part.entries.image_keys[e]) for row, e in enumerate(part.entry)]
            for size in (5, 10, 20):
                for _ in range(10 if size <= len(part) else 0):
                    at = rng.choice(len(part), size=size, replace=False)
                    low, high = total_power([summands[i] for i in at], shared=shared).interval.avg_power_w
                    inside[size] += int(low <= part.power_w[at].sum() <= high)
                    draws[size] += 1

    def first_hour(self) -> Iterator[Figure]:
        """The interval of a steady workload of 6 W within its first hour."""
        rows = self._simulations.get(workloads=40, hours=6, seed=1).training_set()
        first_s, _ = rows.range_s
        entry = int(rows.frame["_entry"].mode()[0])
        steady = pl.when(pl.col("_entry") == entry).then(6.0).otherwise("_power_w").alias("_power_w")
        widths = []
        for minutes in (10, 30, 60, 90):
            frame = rows.frame.with_columns(steady).filter(pl.col("ts") <= first_s + minutes * 60)
            model = train(dataclasses.replace(rows, frame=frame))
            at = np.flatnonzero(np.abs(model.index.power_w - 6.0) < 1e-9)
            low, high = model.predict(model.index.specs.take(at)).interval()
            widths.append(float((high / np.maximum(low, 1e-9)).max()))
        yield within("steady 6 W, first hour: high / low", max(widths), low=1.001, high=2.0)

    def second_cluster(self) -> Iterator[Figure]:
        """A cluster that draws twice as much, of which three workloads are known; beside it the errors on the same
        cluster as it is, and on other pairs of clusters.
        """
        pairs, others = ((1, 7, 40), (7, 1, 40), (1, 7, 400)), ((8, 9, 40), (9, 8, 40), (10, 11, 40), (11, 10, 40))
        errors = self._few_known(pairs, factor=2.0, draws=20)
        interval = bootstrap(lambda e: float(e.mean()), errors)
        yield within("twice the power, 3 known: WAPE", float(errors.mean()), high=0.25, interval=interval)
        for name, of, factor in (
            ("the same power, 3 known: WAPE", pairs, 1.0),
            ("twice the power, 3 known, four other pairs: WAPE", others, 2.0),
            ("the same power, 3 known, four other pairs: WAPE", others, 1.0),
        ):
            errors = self._few_known(of, factor=factor, draws=8)
            yield shown(name, float(errors.mean()), interval=bootstrap(lambda e: float(e.mean()), errors))

    def _few_known(self, pairs: Iterable[tuple[int, int, int]], *, factor: float, draws: int) -> np.ndarray:
        """WAPE of the unknown workloads of a second cluster whose watts are times `factor`, by draw of three known."""
        errors = []
        for one, other, size in pairs:
            here = self._simulations.get(workloads=size, hours=6, seed=one)
            there = self._simulations.get(workloads=40, hours=6, seed=other)
            rows = training_set([here, there], factors={there.name: factor})
            examples, pods = rows.examples(), rows.pods()
            own, of_pods = (places(entries, there.name) for entries in (examples.entries, pods.entries))
            names = sorted({workload for workload in own if workload})
            for draw in range(draws):
                rng = np.random.default_rng(draw)
                known = {names[i] for i in rng.choice(len(names), size=3, replace=False)}
                kept = np.array([workload is None or workload in known for workload in own])
                held = np.array([workload is not None and workload not in known for workload in of_pods])
                model = train_examples(examples.take(kept[examples.entry]))
                part = pods.take(held[pods.entry])
                errors.append(wape(part.power_w, model.predict(part.queries()).power_w))
        return np.array(errors)

    def _rows(self, cluster: str) -> TrainingSet:
        if cluster == "real":
            assert self._real is not None
            return self._real.training_set()
        size, hours, seed = map(int, cluster.split("-"))
        return self._simulations.get(workloads=size, hours=hours, seed=seed).training_set()

    def _evaluated(self, cluster: str) -> SplitReport:
        note(f"leaving workloads out: {cluster}")
        split = evaluate(self._rows(cluster), splits=(UNSEEN,)).split(UNSEEN)
        assert split is not None
        return split


SECTIONS = {
    "minimal": Bench.minimal_manifests,
    "unseen": Bench.unseen_workloads,
    "baselines": Bench.baselines,
    "intervals": Bench.intervals,
    "totals": Bench.totals,
    "first-hour": Bench.first_hour,
    "second-cluster": Bench.second_cluster,
}


def places(entries: Entries, cluster: str) -> list[Workload | None]:
    """The workload of each entry of the cluster; None for those of another."""
    return [w if c == cluster else None for w, c in zip(entries.workloads, entries.clusters, strict=True)]


def summand(estimates, row: int, image_key: str) -> Summand:
    """One pod of a workload in a sum."""
    intervals = [
        (level, (float(estimates.low_w[place, row]), float(estimates.high_w[place, row])))
        for place, level in enumerate(estimates.levels)
    ]
    return Summand(
        power_w=float(estimates.power_w[row]),
        expected_w=float(estimates.expected_power_w[row]),
        intervals=intervals,
        pods=1.0,
        image_key=image_key,
    )


def columns(pods: list[PodResult]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and expected values."""
    return tuple(np.array([getattr(pod, name) for pod in pods]) for name in ("measured", "predicted", "expected"))


def numbered(pods: list[PodResult]) -> np.ndarray:
    """A number for each workload."""
    numbers: dict[tuple[str, ...], int] = {}
    keys = [(pod.namespace, pod.workload_kind, pod.workload_name) for pod in pods]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def by_workload(split: SplitReport, baseline: str) -> tuple[np.ndarray, np.ndarray]:
    """Differences of absolute errors and sums of labels by workload."""
    measured, predicted, _ = columns(split.pods)
    other = np.array(split.baselines[baseline])
    groups = numbered(split.pods)
    return (
        np.bincount(groups, weights=np.abs(predicted - measured) - np.abs(other - measured)),
        np.bincount(groups, weights=measured),
    )


def wape(measured: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.abs(predicted - measured).sum() / measured.sum())


def ratio(measured: np.ndarray, expected: np.ndarray) -> float:
    return float(expected.sum() / measured.sum())


def log_r2(measured: np.ndarray, predicted: np.ndarray) -> float:
    return score(measured, predicted, 60.0 * FLOOR_W).log_r2 or float("nan")


def rank(measured: np.ndarray, predicted: np.ndarray) -> float:
    found = score(measured, predicted, 60.0 * FLOOR_W).rank_correlation
    return float("nan") if found is None else found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", type=Path, nargs="?", default=os.environ.get("PODPOWER_REAL_SPECS"))
    parser.add_argument("labels", type=Path, nargs="?", default=os.environ.get("PODPOWER_REAL_LABELS"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=SECTIONS, action="append")
    chosen = parser.parse_args()
    real = read("real", Path(chosen.specs), Path(chosen.labels)) if chosen.specs and chosen.labels else None
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Simulations(chosen.folder or Path(temporary)), real, seeds=chosen.seeds)
        figures = list[Figure]()
        for name in chosen.only or SECTIONS:
            for figure in SECTIONS[name](bench):
                note("  ".join(figure.cells()))  # as it is found: the whole takes an hour on a loaded machine
                figures.append(figure)
    table(("figure", "value", "95 % range", "goal", "met"), [f.cells() for f in figures], right=("value",))
    return 0 if all(figure.met or figure.within_error for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
