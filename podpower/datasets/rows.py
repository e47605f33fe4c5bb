"""One batch of `train_rows` after another: labels of either mode as watts, joules and seconds, and what is unusable."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import polars as pl

from podpower.datasets.hash_versions import FIRST_VERSION, VERSION_COLUMN
from podpower.datasets.limits import MAX_POWER_W
from podpower.datasets.tables import FINGERPRINT, SPEC_HASH, WIDTH
from podpower.errors import InvalidInput

Target = Literal["energy_step_j", "avg_power_w", "total_energy_j"]
TARGETS: Final[tuple[str, ...]] = get_args(Target)
DEFAULT_STEP_SECONDS = 60.0
WORKLOAD = ("namespace", "workload_kind", "workload_name")
IMAGE_KEY, PHYSICAL, BLOCKS = "image_key", "physical_power_w", "feature_blocks"
POWER, TOTAL, SECONDS, IS_RUN = "_power_w", "_total_energy_j", "_seconds", "_is_run"
_LAST_S = 1e11  # Unix seconds until the year 5138: what is later was meant as milliseconds
_AGREE = 0.01  # of power: a label whose energy and power differ by more contradicts itself
_LEAST_W = 1e-3  # what is less is the counter's resolution
_REQUIRED = (*WORKLOAD, SPEC_HASH)
_OPTIONAL: Final[dict[str, Any]] = {
    "avg_power_w": pl.Float64,
    "energy_step_j": pl.Float64,
    "total_energy_j": pl.Float64,
    "duration_s": pl.Float64,
    "known_s": pl.Float64,  # of a step, where not all of it is known
    "known_share": pl.Float64,  # of a job's duration
    "step_seconds": pl.Float64,
    "ts": pl.Float64,
    "start_s": pl.Float64,
    "end_s": pl.Float64,
    "pod": pl.String,
    "energy": pl.String,
    "cluster": pl.String,
    FINGERPRINT: pl.String,
    IMAGE_KEY: pl.String,
    PHYSICAL: pl.Float64,
    BLOCKS: pl.List(pl.Int64),
    VERSION_COLUMN: pl.Int64,
    "label_source": pl.String,
    "node_ratio": pl.Float64,
}
_IN_WORDS: Final[dict[Any, str]] = {
    pl.Float64: "numbers",
    pl.Int64: "whole numbers",
    pl.String: "texts",
    pl.List(pl.Int64): "lists of whole numbers",
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Properties that all rows share, and the sources of their labels and ratios of pods to nodes, each once."""

    step_seconds: float
    energy: str | None
    encoder_fingerprint: str
    blocks: tuple[int, ...]
    label_sources: tuple[str, ...]
    node_ratios: tuple[float, ...]


class RowReader:
    """Reads batches of one table; counts what is left out and collects what all rows must have in common."""

    def __init__(self, target: str | None) -> None:
        """InvalidInput when the target is unknown."""
        if target is not None and target not in TARGETS:
            raise InvalidInput(f"unknown target {target!r}: use one of {', '.join(TARGETS)}")
        self._target = target
        self.row_count = 0
        self._reasons: Counter[str] = Counter()
        self._values: dict[str, set[Any]] = {
            c: set() for c in ("step_seconds", "energy", FINGERPRINT, WIDTH, "label_source", "node_ratio")
        }
        self._blocks: set[tuple[int, ...]] = set()
        self._clusters: dict[str, tuple[int, float]] = {}  # usable rows of each, and its largest label

    @property
    def target(self) -> str:
        """The target; of rows that are read without one, what their labels are."""
        return self._target or "energy_step_j"

    @property
    def left_out(self) -> dict[str, int]:
        """Counts of unusable rows by reason."""
        return dict(sorted(self._reasons.items()))

    def read(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return the usable rows of a batch with POWER, TOTAL, SECONDS, IS_RUN and all optional columns. InvalidInput
        when columns are missing or hold no numbers, or the target is in no row.
        """
        self._check(batch)
        rows = _with_labels(batch, str(self._target))
        rows = rows.with_columns(_left_out=self._reason())
        self.row_count += len(rows)
        counts = rows.drop_nulls("_left_out").group_by("_left_out").len()
        self._reasons.update(dict(counts.iter_rows()))
        known = rows.filter(pl.col("_left_out").is_null())
        _check_agreement(known)
        for column, values in self._values.items():
            values.update(known[column].drop_nulls().unique().to_list())
        self._count_clusters(known)
        self._blocks.update(tuple(blocks) for blocks in known[BLOCKS].drop_nulls().head(1))
        return known.with_columns(
            pl.col("step_seconds").fill_null(DEFAULT_STEP_SECONDS), pl.col(VERSION_COLUMN).fill_null(FIRST_VERSION)
        )

    def unmetered(self) -> dict[str, int]:
        """Return the clusters whose labels are all 0 beside others that have energy, with their rows: Kepler finds no
        hardware counters there.
        """
        if not any(most > 0 for _, most in self._clusters.values()):
            return {}
        return {cluster: rows for cluster, (rows, most) in sorted(self._clusters.items()) if most == 0}

    def _count_clusters(self, known: pl.DataFrame) -> None:
        label = TOTAL if self._target == "total_energy_j" else POWER
        found = known.group_by(pl.col("cluster").fill_null("")).agg(pl.len(), pl.col(label).max())
        for cluster, rows, most in found.iter_rows():
            before = self._clusters.get(cluster, (0, 0.0))
            self._clusters[cluster] = before[0] + rows, max(before[1], most)

    def facts(self) -> Facts:
        """Return the properties that all rows share. InvalidInput when no row is usable, or the rows are mixed."""
        if self.row_count == sum(self._reasons.values()):
            why = ", ".join(f"{reason} ({count} rows)" for reason, count in self.left_out.items())
            raise InvalidInput(f"no row with a known label of {self.target}: {why or 'there are no rows'}")
        widths = sorted(self._values[WIDTH])
        if len(widths) > 1:
            raise InvalidInput(f"features must all have one length, not {widths}: encode them with one encoder")
        fingerprint = str(self._only(FINGERPRINT, "encoders' vectors") or "")
        blocks = min(self._blocks) if self._blocks else (widths[0],)
        if sum(blocks) != widths[0] or min(blocks) < 0 or len(self._blocks) > 1:
            raise InvalidInput(
                f"{BLOCKS} {[list(b) for b in sorted(self._blocks)]} do not add up to the {widths[0]} columns of "
                "features: encode again"
            )
        return Facts(
            step_seconds=float(self._only("step_seconds", "step lengths") or DEFAULT_STEP_SECONDS),
            energy=self._only("energy", "kinds of energy"),
            encoder_fingerprint=fingerprint,
            blocks=blocks,
            label_sources=tuple(sorted(self._values["label_source"])),
            node_ratios=tuple(sorted(ratio for ratio in self._values["node_ratio"] if 0.0 < ratio < float("inf"))),
        )

    def _only(self, column: str, what: str) -> Any:
        values = sorted(self._values[column])
        if len(values) > 1:
            shown = ", ".join(str(value)[:12] for value in values[:3])
            raise InvalidInput(f"training rows mix {len(values)} {what} ({shown}): train on rows of one {column}")
        return values[0] if values else None

    def _check(self, rows: pl.DataFrame) -> None:
        missing = [c for c in (*_REQUIRED, WIDTH) if c not in rows.columns]
        if missing:
            names = ", ".join("features" if c == WIDTH else c for c in missing)
            raise InvalidInput(f"training rows lack the columns {names}: make them with `podpower join`")
        present = [column for column in TARGETS if column in rows.columns]
        if not present:
            raise InvalidInput(f"training rows have no label: expected one of the columns {', '.join(TARGETS)}")
        if self._target is None:
            self._target = "total_energy_j" if present == ["total_energy_j"] else "energy_step_j"
        if self._target == "total_energy_j" and self._target not in present:
            raise InvalidInput(f"target total_energy_j needs job labels; these rows have {', '.join(present)}")
        for column, kind in (_OPTIONAL | dict.fromkeys(_REQUIRED, pl.String)).items():
            given = rows.schema.get(column, pl.Null())
            if given != pl.Null and not _fits(given, kind):
                raise InvalidInput(f"column {column} must hold {_IN_WORDS[kind]}, not {given}")

    def _reason(self) -> pl.Expr:
        """Return the expression: the reason why a row is not used; null for a used row."""
        label = pl.col(TOTAL) if self._target == "total_energy_j" else pl.col(POWER)
        power, seconds = pl.col(POWER), pl.col(SECONDS)
        reasons: Sequence[tuple[pl.Expr, str]] = (
            (pl.col(WIDTH).is_null() | pl.col(SPEC_HASH).is_null(), "no spec"),
            (label.is_null(), "label is null"),
            (~label.is_finite(), "label is not finite"),
            (label < 0, "label is negative"),
            (power > MAX_POWER_W, f"label is over {MAX_POWER_W / 1000:g} kW a pod"),
            (pl.col("ts").is_null() | ~pl.col("ts").is_finite(), "time is not known"),
            (pl.col("ts") > _LAST_S, "time is not in Unix seconds"),
            # A job may have a total and no duration, hence no power.
            (
                power.is_null() | ~power.is_finite() | ~(seconds > 0) | ~seconds.is_finite(),
                "no known power or duration",
            ),
        )
        found = pl.lit(None, pl.String)
        for condition, reason in reversed(reasons):
            found = pl.when(condition).then(pl.lit(reason)).otherwise(found)
        return found


def _fits(given: pl.DataType, wanted: Any) -> bool:
    if wanted == pl.String:
        return isinstance(given, pl.String | pl.Categorical | pl.Enum)
    if isinstance(wanted, pl.List):
        return isinstance(given, pl.List) and given.inner is not None and given.inner.is_integer()
    return given.is_integer() if wanted == pl.Int64 else given.is_numeric()


def _check_agreement(rows: pl.DataFrame) -> None:
    """InvalidInput where energy and power of one label contradict each other."""
    step = pl.col("step_seconds").fill_null(DEFAULT_STEP_SECONDS)
    power, of_energy = pl.col("avg_power_w"), pl.col("energy_step_j") / step
    apart = (power - of_energy).abs()
    both = power.is_finite() & of_energy.is_finite()
    wrong = rows.filter(both & (apart > _LEAST_W) & (apart > _AGREE * pl.max_horizontal(power, of_energy)))
    if len(wrong):
        row = wrong.row(0, named=True)
        name = "/".join(str(row[column]) for column in WORKLOAD)
        raise InvalidInput(
            f"energy_step_j and avg_power_w contradict each other in {len(wrong)} rows, e.g. "
            f"{row['energy_step_j']:g} J and "
            f"{row['avg_power_w']:g} W at a step of {row['step_seconds'] or DEFAULT_STEP_SECONDS:g} s of {name}: "
            "correct or drop one of the columns"
        )


def _with_labels(rows: pl.DataFrame, target: str) -> pl.DataFrame:
    """Adds POWER, TOTAL, SECONDS, IS_RUN and what optional columns are absent, whatever the mode of the labels.

    Power comes from the column of the target, where it has a value.
    """
    rows = rows.with_columns(pl.lit(None, t).alias(name) for name, t in _OPTIONAL.items() if name not in rows.columns)
    numbers = [name for name, kind in _OPTIONAL.items() if kind == pl.Float64]
    rows = rows.with_columns(pl.col(numbers).cast(pl.Float64))
    step = pl.col("step_seconds").fill_null(DEFAULT_STEP_SECONDS)
    duration, total = pl.col("duration_s"), pl.col("total_energy_j")
    of_energy = pl.col("energy_step_j") / step
    of_label = [pl.col("avg_power_w"), of_energy]
    if target == "energy_step_j":
        of_label.reverse()
    power = pl.coalesce(*of_label, pl.when(duration > 0).then(total / duration))
    physical = pl.col(PHYSICAL)
    # Of labels without any time, as the reference system's of jobs, all are of one.
    time = pl.coalesce("ts", "end_s", "start_s")
    timeless = pl.all_horizontal(pl.col("ts", "start_s", "end_s").is_null().all())
    return rows.with_columns(
        pl.when((physical > 0) & physical.is_finite()).then(physical).alias(PHYSICAL),
        pl.when(timeless).then(0.0).otherwise(time).alias("ts"),
        (pl.col("ts").is_null() & total.is_not_null()).alias(IS_RUN),
        pl.coalesce(duration * pl.col("known_share").fill_null(1.0), "known_s", step).alias(SECONDS),
        power.alias(POWER),
        total.alias(TOTAL),
    )
