"""Intervals into the energy of whole pods, piece by piece: one row for each life of a pod.

Energy that counters show is measured; seconds that are lost count with the pod's mean power.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from podpower.datasets.renewal import with_version
from podpower.labels import reasons
from podpower.labels.counters import ENDED_AFTER_S, Bools, Floats, Ints
from podpower.labels.intervals import CHANGED, GAP, KNOWN, PARTIAL, RESET, Intervals
from podpower.labels.table import JOBS_SCHEMA

# Pods of the `workload_specs` table: their owner, from when to when they ran (null: still running), how they ended.
LIVES_SCHEMA = pl.Schema(
    {
        "namespace": pl.String(),
        "pod": pl.String(),
        "uid": pl.String(),
        "from_s": pl.Float64(),
        "to_s": pl.Float64(),
        "outcome": pl.String(),
        "workload_kind": pl.String(),
        "workload_name": pl.String(),
        "_spec_hash": pl.String(),
        "spec_hash_version": pl.Int64(),
    }
)
_BEFORE_S = 1.0  # a first sample can be this much older than the event that created the pod
# Of the seconds between the samples around a reset at least this share is lost: nothing shows when it happened.
_LOST_SHARE = 0.1
LEAST_KNOWN_SHARE = 0.5  # of a run whose total energy is learned
_POD = ["namespace", "pod"]
_LIFE = [*_POD, "ordinal"]
_FRAGMENTS = pl.Schema(
    {
        "fragment": pl.Int64(), "namespace": pl.String(), "pod": pl.String(), "uid": pl.String(), "life": pl.Int64(),
        "goes_on": pl.Boolean(), "first_s": pl.Float64(), "last_s": pl.Float64(), "head_j": pl.Float64(),
        "head_s": pl.Float64(), "measured_j": pl.Float64(), "measured_s": pl.Float64(), "partial": pl.Boolean(),
    }
)  # fmt: skip
_BROKEN = pl.Schema({"fragment": pl.Int64(), "joules": pl.Float64(), "seconds": pl.Float64()})


def no_lives() -> pl.DataFrame:
    """Return lives of a cluster whose objects nobody has seen."""
    return pl.DataFrame(schema=LIVES_SCHEMA)


def lives_of(specs: pl.DataFrame) -> pl.DataFrame:
    """Return the pods of the `workload_specs` table, each life once."""
    pods = with_version(specs).explode("pods").drop_nulls("pods")
    stored = {f.name for f in pods.schema["pods"].fields}  # type: ignore[attr-defined]
    of_pod = [
        (pl.col("pods").struct.field(name) if name in stored else pl.lit(None, pl.String)).alias(name)
        for name in ("pod", "uid", "from_s", "to_s", "outcome")
    ]
    lives = pods.select("namespace", *of_pod, "workload_kind", "workload_name", "_spec_hash", "spec_hash_version")
    return lives.select(LIVES_SCHEMA.names()).cast(LIVES_SCHEMA).unique("uid", keep="last", maintain_order=True)


@dataclass(kw_only=True)
class PodLives:
    """Energy of each life of a pod within [start_s, end_s], added up from pieces in order of time. `lives` are in
    LIVES_SCHEMA.
    """

    lives: pl.DataFrame
    start_s: float
    end_s: float
    _fragments: list[pl.DataFrame] = field(default_factory=list)
    _broken: list[pl.DataFrame] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.lives = self.lives.sort("namespace", "pod", "from_s").with_row_index("life")

    def add(self, intervals: Intervals, *, after_s: float) -> pl.DataFrame:
        """Add intervals that end after `after_s`, and return the pods' fragments of lives (`namespace`, `pod`,
        `last_s`).
        """
        if not len(intervals.pod):
            return pl.DataFrame(schema=_FRAGMENTS)
        life = self._life_of(intervals)
        active = intervals.follows & (np.append(intervals.ts[1:], 0.0) > after_s)
        split = active & _splits(intervals, life)
        begins = np.ones(len(active), dtype=bool)
        begins[1:] = ~intervals.follows[:-1] | split[:-1]
        fragment = np.cumsum(begins) - 1
        table, broken = self._summed(intervals, life, fragment, begins, active & ~split)
        last = np.append(np.flatnonzero(begins)[1:], len(begins)) - 1
        table = table.with_columns(
            pl.Series("goes_on", intervals.ts[begins] <= after_s),
            pl.Series("fragment", np.arange(len(table)) + self._count),
        ).select(_FRAGMENTS.names())
        self._broken.append(broken.with_columns(pl.col("fragment") + self._count))
        self._count += len(table)
        self._fragments.append(table.filter(pl.Series(intervals.ts[last] > after_s)))
        return self._fragments[-1]

    def _life_of(self, intervals: Intervals) -> Ints:
        """Return the row of `lives` at each scrape, by pod_id, else by time; -1 where none is known."""
        found = np.full(len(intervals.ts), -1, dtype=np.int64)
        codes = intervals.pods.with_row_index("code").join(self.lives, on=_POD).sort("code", "from_s")
        if codes.is_empty():
            return found
        # Times of one pod after those of another, so that all lives are searched at once.
        origin = min(float(intervals.ts.min()), float(codes["from_s"].min()))  # type: ignore[arg-type]
        span = max(float(intervals.ts.max()), float(codes["from_s"].max())) - origin + 10.0  # type: ignore[arg-type]
        code = codes["code"].to_numpy().astype(np.float64)
        begins = code * span + codes["from_s"].to_numpy() - origin
        at = np.searchsorted(begins, intervals.pod * span + intervals.ts - origin + _BEFORE_S, side="right") - 1
        place = np.maximum(at, 0)
        ended_s = codes["to_s"].fill_null(float("inf")).to_numpy() + ENDED_AFTER_S
        valid = (at >= 0) & (code[place] == intervals.pod) & (intervals.ts <= ended_s[place])
        found[valid] = codes["life"].to_numpy().astype(np.int64)[place[valid]]
        of_uid = dict(zip(codes["uid"].to_list(), codes["life"].to_list(), strict=True))
        by_id = np.array([of_uid.get(name, -1) for name in intervals.pod_ids], dtype=np.int64)[intervals.pod_id]
        return np.where(by_id >= 0, by_id, found)

    def _summed(
        self, intervals: Intervals, life: Ints, fragment: Ints, begins: Bools, counted: Bools
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        size = int(fragment[-1]) + 1
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(begins)) - 1
        joules, seconds = self._within(intervals, life)
        known = counted & ((intervals.state == KNOWN) | (intervals.state == GAP))
        broken = counted & ((intervals.state == CHANGED) | (intervals.state == RESET)) & (seconds > 0)
        with_it = ~intervals.history[first] & np.isfinite(intervals.since_s[first])
        names = intervals.pods[intervals.pod[first].astype(np.uint32)]
        ids = pl.Series([name or None for name in intervals.pod_ids], dtype=pl.String)
        table = names.with_columns(
            # Of its last scrape: samples of an earlier pod of the name are kept from the piece before.
            ids.gather(intervals.pod_id[last].astype(np.uint32)).alias("uid"),
            pl.Series("life", life[last]),
            pl.Series("first_s", intervals.ts[first]),
            pl.Series("last_s", intervals.ts[last]),
            pl.Series("head_j", np.where(with_it, intervals.first_j[first], np.nan), nan_to_null=True),
            pl.Series("head_s", np.where(with_it, intervals.since_s[first], np.nan), nan_to_null=True),
            pl.Series("measured_j", np.bincount(fragment, weights=np.where(known, joules, 0.0), minlength=size)),
            pl.Series("measured_s", np.bincount(fragment, weights=np.where(known, seconds, 0.0), minlength=size)),
            pl.Series("partial", np.bincount(fragment[intervals.state == PARTIAL], minlength=size) > 0),
        )
        lost = {"fragment": fragment[broken], "joules": joules[broken], "seconds": seconds[broken]}
        return table, pl.DataFrame(lost, schema=_BROKEN)

    def _within(self, intervals: Intervals, life: Ints) -> tuple[Floats, Floats]:
        """Return joules and seconds of each interval within the range; its energy is drawn before the pod's
        known end.
        """
        begin, finish = intervals.ts, np.append(intervals.ts[1:], 0.0)
        joules = intervals.grown_j + np.append(intervals.first_j[1:], 0.0)
        ended_s = np.append(self.lives["to_s"].fill_null(float("inf")).to_numpy(), np.inf)[life]
        finish = np.maximum(np.minimum(finish, ended_s), begin)
        seconds = np.maximum(np.minimum(finish, self.end_s) - np.maximum(begin, self.start_s), 0.0)
        length = finish - begin
        inside = ((begin >= self.start_s) & (begin < self.end_s)).astype(np.float64)
        share = np.divide(seconds, length, out=inside, where=length > 0)
        return joules * share, seconds

    def table(self) -> pl.DataFrame:
        """Return one row for each life that has samples in the range: identity, `life`, start, end, energy
        and reason.
        """
        fragments = pl.concat([pl.DataFrame(schema=_FRAGMENTS), *self._fragments])
        fragments = fragments.sort(*_POD, "last_s", maintain_order=True)
        own = (pl.col("life") < 0) & ~pl.col("goes_on")
        ordinal = (
            pl.when(pl.col("life") < 0).then(own.cum_sum().over(_POD).cast(pl.Int64)).otherwise(-1 - pl.col("life"))
        )
        fragments = fragments.with_columns(ordinal.alias("ordinal"))
        fresh = ~pl.col("goes_on")
        per_life = fragments.group_by(*_LIFE, maintain_order=True).agg(
            pl.col("life").last(),
            pl.col("uid").drop_nulls().last(),
            pl.col("first_s").filter(fresh).min(),
            pl.col("last_s").max(),
            pl.col("head_j", "head_s").filter(fresh).first(),
            pl.col("measured_j", "measured_s").sum(),
            pl.col("partial").any(),
        )
        broken = pl.concat([pl.DataFrame(schema=_BROKEN), *self._broken])
        lost = broken.join(fragments.select("fragment", *_LIFE), on="fragment")
        known = self.lives.select(pl.col("life").cast(pl.Int64), "from_s", "to_s", pl.col("uid").alias("own_uid"))
        dated = self._dated(per_life.join(known, on="life", how="left", maintain_order="left"))
        return _estimated(dated, lost)

    def _dated(self, lives: pl.DataFrame) -> pl.DataFrame:
        """Start and end of each life in the range, and the energy before its first sample where that is known."""
        of_objects = pl.when(pl.col("from_s").is_not_null()).then(pl.min_horizontal("from_s", "first_s"))
        began = pl.coalesce(of_objects, pl.col("first_s") - pl.col("head_s").fill_null(0.0))
        ended = pl.coalesce("to_s", "last_s")
        dated = lives.with_columns(
            pl.col("own_uid").fill_null(pl.col("uid")).alias("uid"),
            began.fill_null(self.start_s).alias("_began"),
        ).with_columns(
            pl.col("_began").clip(self.start_s, self.end_s).alias("start_s"),
            ended.clip(self.start_s, self.end_s).alias("end_s"),
        )
        # The final value of a pod that has ended can be scraped after its end.
        head_end = pl.min_horizontal("first_s", "to_s")
        in_head_s = (head_end.clip(upper_bound=self.end_s) - pl.col("start_s")).clip(lower_bound=0.0)
        whole_head_s = head_end - pl.col("_began")
        share = pl.when(whole_head_s > 0).then(in_head_s / whole_head_s).otherwise(1.0)
        counts = pl.col("head_j").is_not_null()
        return dated.with_columns(
            (pl.col("measured_j") + pl.when(counts).then(pl.col("head_j") * share).otherwise(0.0)).alias("measured_j"),
            (pl.col("measured_s") + pl.when(counts).then(in_head_s).otherwise(0.0)).alias("measured_s"),
        ).filter((pl.col("end_s") > pl.col("start_s")) | (pl.col("last_s").is_between(self.start_s, self.end_s)))


def _estimated(lives: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """Return totals: the energy of counters that were reset between two samples covers the seconds that the pod's mean
    power needs for it; every lost second counts with mean power.
    """
    mean = pl.when(pl.col("measured_s") > 0).then(pl.col("measured_j") / pl.col("measured_s"))
    longest = (1.0 - _LOST_SHARE) * pl.col("seconds")
    needed = pl.when(pl.col("mean") > 0).then(pl.col("joules") / pl.col("mean")).otherwise(pl.col("seconds") / 2)
    lost = (
        broken.join(lives.select(*_LIFE, mean.alias("mean")), on=_LIFE)
        .with_columns(pl.min_horizontal(needed, longest).alias("stands_for_s"))
        .group_by(*_LIFE)
        .agg(pl.col("joules").sum().alias("lost_j"), pl.col("stands_for_s").sum())
    )
    whole = lives.join(lost, on=_LIFE, how="left", maintain_order="left").with_columns(
        (pl.col("measured_j") + pl.col("lost_j").fill_null(0.0)).alias("measured_j"),
        (pl.col("measured_s") + pl.col("stands_for_s").fill_null(0.0)).alias("measured_s"),
        (pl.col("end_s") - pl.col("start_s")).alias("duration_s"),
    )
    power = pl.when(pl.col("measured_s") > 0).then(pl.col("measured_j") / pl.col("measured_s"))
    unknown_s = (pl.col("duration_s") - pl.col("measured_s")).clip(lower_bound=0.0)
    share = pl.when(pl.col("duration_s") > 0).then(pl.col("measured_s") / pl.col("duration_s")).otherwise(0.0)
    unknown = pl.when("partial").then(pl.lit(reasons.PARTIAL_ANSWER)).otherwise(pl.lit(reasons.SHORT_LIVED))
    return whole.with_columns(
        power.alias("avg_power_w"),
        (pl.col("measured_j") + power * unknown_s).alias("total_energy_j"),
        share.clip(0.0, 1.0).alias("known_share"),
        pl.when(power.is_null()).then(unknown).alias("reason"),
    )


def _splits(intervals: Intervals, life: Ints) -> Bools:
    """Return intervals between two lives of a pod's name: another uid, or a long time that no counter spans."""
    after, changed = np.append(life[1:], -1), np.append(intervals.pod_id[1:], -1) != intervals.pod_id
    long = np.append(np.diff(intervals.ts), 0.0) > ENDED_AFTER_S
    same = (after == life) & (life >= 0)
    split: Bools = ~same & ((after != life) & (after >= 0) & (life >= 0) | changed | (long & ~intervals.bridged))
    return split


def with_runs(windows: pl.DataFrame, jobs: pl.DataFrame | None) -> pl.DataFrame:
    """Return window labels followed by the job labels of completed runs, whose `ts` is null.

    The energy of a run is that of a pod that succeeded. A pod that was deleted or failed was interrupted, and a total
    that is mostly estimated teaches nothing.
    """
    runs = pl.DataFrame(schema=JOBS_SCHEMA) if jobs is None else jobs
    return pl.concat([windows, runs.filter(is_learned_run())], how="diagonal")


def is_learned_run() -> pl.Expr:
    """Expression: the job label is of a pod that succeeded, and most of its energy is measured."""
    return (
        (pl.col("outcome") == "succeeded")
        & (pl.col("known_share") >= LEAST_KNOWN_SHARE)
        & pl.col("total_energy_j").is_not_null()
    )
