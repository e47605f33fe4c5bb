"""Find specs whose labels left the range that the champion knows of them, and leave those labels out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from podpower.datasets.entries import Entries
from podpower.datasets.training_set import TrainingSet
from podpower.errors import InvalidInput
from podpower.hours import DAY_S, HOUR_S
from podpower.model.knn import KnnModel
from podpower.model.scale import from_log, to_log
from podpower.registry.quarantine import Key, Quarantined, QuarantineState, Released, named

FACTOR = 10.0
STAY_S = DAY_S  # after a day outside its range a spec draws something else, and its labels are used
_GAP_S = 2 * HOUR_S  # between two trainings; a longer one ends a stay


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """`kept` is the training set without the labels of the specs in quarantine; the labels of `accepted` specs stayed
    outside their range for a day and are used.
    """

    specs: list[Quarantined]
    accepted: list[Quarantined]
    kept: TrainingSet

    def usable(self) -> TrainingSet:
        """Return `kept`. InvalidInput when nothing is left."""
        if self.specs and self.kept.frame.is_empty():
            raise InvalidInput(
                f"every label is in quarantine ({named(self.specs)}): check Kepler and its configuration; if the "
                "labels are right, `podpower models quarantine release --all`"
            )
        return self.kept

    def __str__(self) -> str:
        if not self.specs:
            return "no spec is in quarantine"
        hours = sum(spec.hours for spec in self.specs)
        return (
            f"{len(self.specs)} spec{'s are' if len(self.specs) > 1 else ' is'} in quarantine, whose labels of "
            f"{hours} hour{'s' if hours > 1 else ''} left the known range by more than {FACTOR:g} times and are not "
            f"used: {named(self.specs)}; if they are right, `podpower models quarantine release NAME`"
        )


@dataclass(frozen=True, kw_only=True)
class _Range:
    low_w: float
    high_w: float


def find_quarantined(
    champion: KnnModel, training_set: TrainingSet, *, before: QuarantineState | None = None
) -> Quarantine:
    """Compare each hour of each spec with the range that the champion or a release knows of that very spec.

    A stay begins with the first hour outside the range, but never before the end of the champion's labels: hours that
    the champion was trained on had other labels then, and were changed since. `before` has the stays found so far.
    """
    before = before or QuarantineState()
    ranges = _known_ranges(champion, training_set.entries, before.released)
    hours = training_set.hours()
    low, high = (np.full(len(training_set.entries), np.nan) for _ in range(2))
    for entry, known in ranges.items():
        low[entry], high[entry] = known.low_w, known.high_w
    at, logs = hours["entry"].to_numpy(), to_log(hours["power_w"].to_numpy())
    margin = np.log(FACTOR)
    outside = (logs < to_log(low[at]) - margin) | (logs > to_log(high[at]) + margin)  # NaN: never
    if not outside.any():
        return Quarantine(specs=[], accepted=[], kept=training_set)
    hours = hours.with_columns(outside=pl.Series(outside)).with_columns(run=pl.col("outside").rle_id().over("entry"))
    stays = {spec.key: spec for spec in before.specs}
    left_out: list[tuple[int, int]] = []
    specs: dict[Key, Quarantined] = {}
    accepted: list[Quarantined] = []
    runs = hours.filter("outside").group_by("entry", "run", maintain_order=True).agg(
        pl.col("first_s").min(), pl.col("last_s").max(), pl.len().alias("hours"),
        pl.col("power_w").min().alias("least_w"), pl.col("power_w").max().alias("most_w"),
    )  # fmt: skip
    for run in runs.iter_rows(named=True):
        spec = _spec(training_set.entries, run, ranges[run["entry"]])
        spec = _with_stay(spec, run["first_s"], stays.get(spec.key), champion.labels_end_s)
        if spec.last_s - spec.since_s >= STAY_S:
            accepted.append(spec)
            continue
        left_out.append((run["entry"], run["run"]))
        specs[spec.key] = _merged(specs.get(spec.key), spec)
    return Quarantine(
        specs=sorted(specs.values(), key=lambda spec: spec.key),
        accepted=accepted,
        kept=_without(training_set, hours, left_out),
    )


def _without(training_set: TrainingSet, hours: pl.DataFrame, runs: list[tuple[int, int]]) -> TrainingSet:
    chosen = pl.DataFrame(runs, schema={"entry": hours.schema["entry"], "run": hours.schema["run"]}, orient="row")
    return training_set.without(hours.join(chosen, on=["entry", "run"], how="semi"))


def _known_ranges(champion: KnnModel, entries: Entries, released: Iterable[Released]) -> Mapping[int, _Range]:
    """Return the known range of each entry that has one: the champion's widest interval, and what was released."""
    index, ranges = champion.index, {}
    below, above = champion.intervals.bounds[champion.intervals.levels[-1]]["seen"]
    logs = to_log(index.power_w)
    low, high = from_log(logs + below * index.spread), from_log(logs + above * index.spread)
    rows: dict[tuple[str, ...], list[int]] = {}
    for row, (spec_hash, workload) in enumerate(zip(index.spec_hashes, index.workloads, strict=True)):
        rows.setdefault((*workload, spec_hash), []).append(row)
    widened = {spec.key: spec for spec in released}
    for entry, key in enumerate(_keys(entries)):
        own = [row for row in rows.get(key[1:], []) if _is_same_cluster(index.clusters[row], key[0])]
        if not own:
            continue
        found = [_Range(low_w=float(low[own].min()), high_w=float(high[own].max()))]
        if key in widened:
            found.append(_Range(low_w=widened[key].low_w, high_w=widened[key].high_w))
        ranges[entry] = _Range(low_w=min(r.low_w for r in found), high_w=max(r.high_w for r in found))
    return ranges


def _is_same_cluster(known: str, cluster: str) -> bool:
    return not known or not cluster or known == cluster


def _keys(entries: Entries) -> Iterable[Key]:
    return zip(entries.clusters, entries.namespaces, entries.kinds, entries.names, entries.spec_hashes, strict=True)


def _spec(entries: Entries, run: dict[str, float], known: _Range) -> Quarantined:
    entry = int(run["entry"])
    return Quarantined(
        cluster=entries.clusters[entry],
        namespace=entries.namespaces[entry],
        workload_kind=entries.kinds[entry],
        workload_name=entries.names[entry],
        spec_hash=entries.spec_hashes[entry],
        since_s=run["first_s"],
        last_s=run["last_s"],
        hours=int(run["hours"]),
        low_w=known.low_w,
        high_w=known.high_w,
        least_w=run["least_w"],
        most_w=run["most_w"],
    )


def _with_stay(spec: Quarantined, first_s: float, before: Quarantined | None, labels_end_s: float) -> Quarantined:
    since_s = max(first_s, labels_end_s)
    if before is not None and before.since_s <= spec.last_s and before.last_s >= first_s - _GAP_S:
        since_s = before.since_s
    return msgspec.structs.replace(spec, since_s=since_s)


def _merged(first: Quarantined | None, second: Quarantined) -> Quarantined:
    """Return two runs of one spec as one entry, with the stay of the later."""
    if first is None:
        return second
    return msgspec.structs.replace(
        second,
        hours=first.hours + second.hours,
        least_w=min(first.least_w, second.least_w),
        most_w=max(first.most_w, second.most_w),
    )
