"""Counter samples into joules a step: the increase of each series, never of a sum.

A counter is read at the edges of a step by linear interpolation between the samples on both sides. That is done only
where those are near: where they are more than a few scrapes apart, or the counter began anew between them, or there is
none on one side, the step is not known. Increases between samples inside a step need no interpolation and are exact.
"""

import polars as pl

from podpower.labels import reasons

TS, ENERGY, REASON = "ts", "energy_step_j", "reason"
# A series without samples for this long has ended; what comes later begins anew. Prometheus' own lookback.
ENDED_AFTER_S = 300.0
_NEAR_SCRAPES = 2.5  # one missed scrape is bridged, two are not
_STARTS, _ENDS = "starts", "ends"


def clean(points: pl.DataFrame) -> pl.DataFrame:
    """Samples in order of series and time, finite and not negative; of several at one time the largest.

    `points`: `series`, `ts`, `value`. NaN is Prometheus' staleness marker, no measurement.
    """
    value = pl.col("value")
    return points.filter(value.is_finite() & (value >= 0)).group_by("series", TS).agg(value.max()).sort("series", TS)


def scrape_interval_s(points: pl.DataFrame) -> float:
    """The usual time between a series' samples (cleaned), in seconds; 0 where no series has two."""
    gaps = points.select(pl.col(TS).diff().over("series").alias("gap")).drop_nulls()
    return float(gaps["gap"].median() or 0.0) if len(gaps) else 0.0  # type: ignore[arg-type]


def step_energy(points: pl.DataFrame, *, start_s: float, steps: int, step_seconds: float) -> pl.DataFrame:
    """Joules of each series in each step it lived in: `series`, `ts` (end of step), `energy_step_j`, `reason`.

    `points` are cleaned, and reach at least ENDED_AFTER_S beyond the range where there are samples there.
    `reason` is null where the energy is known; "starts" and "ends" tell a series that did not live all of the step.
    """
    near_s = _NEAR_SCRAPES * scrape_interval_s(points)
    lives = _lives(points)
    edges = _edges(lives, start_s=start_s, steps=steps, step_seconds=step_seconds)
    at_edges = _at_edges(lives, edges, near_s=near_s)
    begins = (
        pl.col(c).shift(1).over("life", order_by="edge").alias(f"begin_{c}") for c in ("state", "total", "resets")
    )
    joined = at_edges.with_columns(begins).filter(pl.col("begin_state").is_not_null())
    return (
        joined.filter(~_outside())
        .with_columns(_reason().alias(REASON))
        .select(
            "series",
            (start_s + pl.col("edge") * step_seconds).alias(TS),
            pl.when(pl.col(REASON).is_null()).then(pl.col("total") - pl.col("begin_total")).alias(ENERGY),
            REASON,
        )
    )


def _lives(points: pl.DataFrame) -> pl.DataFrame:
    """Each sample with its `life` (a stretch without an end), `total` counted since its start, and resets so far."""
    value, ts = pl.col("value"), pl.col(TS)
    ended = (ts.diff().over("series") > ENDED_AFTER_S).fill_null(value=True)
    with_life = points.with_columns(ended.cum_sum().alias("life"))
    change = value.diff().over("life")
    reset = (change < 0).fill_null(value=False)
    increase = pl.when(reset).then(value).otherwise(change).fill_null(0.0)  # after a reset: what it counted anew
    return with_life.with_columns(
        increase.cum_sum().over("life").alias("total"), reset.cast(pl.Int64).cum_sum().over("life").alias("resets")
    )


def _edges(lives: pl.DataFrame, *, start_s: float, steps: int, step_seconds: float) -> pl.DataFrame:
    """For each life the edges (0 to `steps`) of the steps that it touches, with its first and last sample."""
    spans = lives.group_by("series", "life").agg(pl.col(TS).min().alias("first"), pl.col(TS).max().alias("last"))
    low = ((pl.col("first") - start_s) / step_seconds).floor().cast(pl.Int64).clip(0, steps)
    high = ((pl.col("last") - start_s) / step_seconds).ceil().cast(pl.Int64).clip(0, steps)
    touching = spans.with_columns(low=low, high=high).filter(pl.col("high") > pl.col("low"))
    edge = pl.int_ranges("low", pl.col("high") + 1).alias("edge")
    exploded = touching.with_columns(edge).drop("low", "high").explode("edge")
    return exploded.with_columns((start_s + pl.col("edge") * step_seconds).alias(TS)).sort(TS)


def _at_edges(lives: pl.DataFrame, edges: pl.DataFrame, *, near_s: float) -> pl.DataFrame:
    """The counter at each edge: `total`, `resets`, and `state` "known", "starts", "ends", "gap" or "reset"."""
    samples = lives.select("life", TS, "total", "resets").sort(TS)
    earlier = samples.with_columns(pl.col(TS).alias("ts_before"))
    later = samples.select(
        "life",
        TS,
        pl.col(TS).alias("ts_after"),
        pl.col("total").alias("total_after"),
        pl.col("resets").alias("resets_after"),
    )
    both = edges.join_asof(earlier, on=TS, by="life", strategy="backward", check_sortedness=False).join_asof(
        later, on=TS, by="life", strategy="forward", check_sortedness=False
    )
    apart = pl.col("ts_after") - pl.col("ts_before")
    share = pl.when(apart > 0).then((pl.col(TS) - pl.col("ts_before")) / apart).otherwise(0.0)
    state = (
        pl.when(pl.col("ts_before").is_null())
        .then(pl.lit(_STARTS))
        .when(pl.col("ts_after").is_null())
        .then(pl.lit(_ENDS))
        .when(apart > near_s)
        .then(pl.lit(reasons.GAP))
        .when(pl.col("resets_after") > pl.col("resets"))
        .then(pl.lit(reasons.COUNTER_RESET))
        .otherwise(pl.lit("known"))
    )
    total = pl.col("total") + (pl.col("total_after") - pl.col("total")) * share
    return both.select("series", "life", "edge", state.alias("state"), total.alias("total"), "resets", "first", "last")


def _outside() -> pl.Expr:
    """A life that ended before the step or began after it."""
    return ((pl.col("begin_state") == _ENDS) & (pl.col("state") == _ENDS)) | (
        (pl.col("begin_state") == _STARTS) & (pl.col("state") == _STARTS)
    )


def _reason() -> pl.Expr:
    begin, end = pl.col("begin_state"), pl.col("state")
    return (
        pl.when((begin == _STARTS) & (end == _ENDS))
        .then(pl.lit(reasons.SHORT_LIVED))
        .when(begin == _STARTS)
        .then(pl.lit(_STARTS))
        .when(end == _ENDS)
        .then(pl.lit(_ENDS))
        .when((begin == reasons.GAP) | (end == reasons.GAP))
        .then(pl.lit(reasons.GAP))
        .when((begin != "known") | (end != "known") | (pl.col("resets") > pl.col("begin_resets")))
        .then(pl.lit(reasons.COUNTER_RESET))
    )


def pod_energy(per_series: pl.DataFrame) -> pl.DataFrame:
    """Series of a pod added up: `namespace`, `pod`, `ts`, `energy_step_j`, `reason`; null where any part is unknown.

    `per_series` is `step_energy` with `namespace` and `pod`.
    """
    has = {r: (pl.col(REASON) == r).fill_null(value=False).any() for r in (reasons.GAP, reasons.COUNTER_RESET)}
    starts, ends = ((pl.col(REASON) == r).fill_null(value=False) for r in (_STARTS, _ENDS))
    whole = ~(starts | ends | (pl.col(REASON) == reasons.SHORT_LIVED).fill_null(value=False))
    reason = (
        pl.when(has[reasons.COUNTER_RESET])
        .then(pl.lit(reasons.COUNTER_RESET))
        .when(has[reasons.GAP])
        .then(pl.lit(reasons.GAP))
        .when(whole.all())
        .then(None)
        .when(whole.any() | (starts.any() & ends.any()))
        .then(pl.lit(reasons.CONTAINER_CHANGED))
        .when(starts.any())
        .then(pl.lit(reasons.FIRST_STEP))
        .when(ends.any())
        .then(pl.lit(reasons.LAST_STEP))
        .otherwise(pl.lit(reasons.SHORT_LIVED))
    )
    summed = per_series.group_by("namespace", "pod", TS).agg(pl.col(ENERGY).sum(), reason.alias(REASON))
    return summed.with_columns(pl.when(pl.col(REASON).is_null()).then(pl.col(ENERGY)).alias(ENERGY))
