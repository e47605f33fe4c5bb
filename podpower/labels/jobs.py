"""Window labels added up to one row a pod, piece by piece."""

import polars as pl

from podpower.labels import reasons
from podpower.labels.counters import ENERGY, REASON, TS

_POD = ("cluster", "namespace", "pod", "energy")


class Jobs:
    """Takes window tables in order of time; `table` has one row for each pod that was in any of them."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []

    def add(self, windows: pl.DataFrame) -> None:
        """Take in the next piece."""
        edge = pl.col(REASON).is_in([reasons.FIRST_STEP, reasons.LAST_STEP]).fill_null(value=False)
        known = pl.col(ENERGY).is_not_null()
        began = pl.col(TS) - pl.col("step_seconds")
        self._parts.append(
            windows.sort(TS).group_by(_POD, maintain_order=True).agg(
                pl.col("workload_kind", "workload_name", "_spec_hash").last(),
                began.filter(known).min().alias("start_s"),
                pl.col(TS).filter(known).max().alias("end_s"),
                pl.col("step_seconds").filter(known).sum().alias("duration_s"),
                pl.col(ENERGY).sum().alias("total_energy_j"),
                (~edge & ~known).any().alias("broken"),
                pl.col(REASON).first().alias("first_reason"),
            )
        )  # fmt: skip

    def table(self) -> pl.DataFrame:
        """One row a pod, with the columns of JOBS_SCHEMA."""
        per_pod = pl.concat(self._parts).group_by(_POD, maintain_order=True).agg(
            pl.col("workload_kind", "workload_name", "_spec_hash").last(),
            pl.col("start_s").min(),
            pl.col("end_s").max(),
            pl.col("duration_s", "total_energy_j").sum(),
            pl.col("broken").any(),
            pl.col("first_reason").first(),
        )  # fmt: skip
        reason = (
            pl.when(pl.col("duration_s") == 0)
            .then(pl.col("first_reason"))
            .when(pl.col("broken"))
            .then(pl.lit(reasons.PARTLY_UNKNOWN))
        )
        told = per_pod.with_columns(reason.alias(REASON))
        total = pl.when(pl.col(REASON).is_null()).then("total_energy_j")
        return told.with_columns(
            total.alias("total_energy_j"), (total / pl.col("duration_s")).alias("avg_power_w")
        ).sort("namespace", "pod")
