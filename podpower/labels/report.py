"""What an export of labels found: counts that people and checks read."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from podpower.labels.counters import REASON

ALL_ZERO = "all energy is 0 J: Kepler finds no hardware counters here, as on most cloud VMs; do not train on this"


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """Counts of one export. `null_reasons` counts the steps (or jobs) without energy by reason."""

    generation: str
    energy: str
    pods: int
    rows: int
    known: int
    null_reasons: dict[str, int] = field(default_factory=dict)
    excluded_pseudo_pods: int = 0
    all_zero: bool = False
    total_energy_j: float = 0.0
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values."""
        return asdict(self)


class Tally:
    """Adds up a report table by table."""

    def __init__(self, *, generation: str, energy: str) -> None:
        self._generation, self._energy = generation, energy
        self._warnings: dict[str, None] = {}  # each once, in order
        self._excluded = 0
        self._rows = self._known = 0
        self._joules = 0.0
        self._any_energy = False
        self._reasons: Counter[str] = Counter()
        self._pods: set[int] = set()

    def warn(self, *warnings: str) -> None:
        """Keep what people should read."""
        self._warnings.update(dict.fromkeys(warnings))

    def exclude(self, pseudo_pods: int) -> None:
        """Count what was no pod."""
        self._excluded = max(self._excluded, pseudo_pods)

    def count(self, table: pl.DataFrame, *, column: str) -> None:
        """Add the rows of a table whose energy is in `column`."""
        known = table[column].drop_nulls()
        self._rows += len(table)
        self._known += len(known)
        self._joules += float(known.sum())
        self._any_energy |= bool((known > 0).any())
        self._reasons.update(dict(table[REASON].drop_nulls().value_counts().iter_rows()))
        self._pods.update(table.select(pl.struct("namespace", "pod").hash()).to_series().unique())

    def of_jobs(self, table: pl.DataFrame) -> LabelReport:
        """The report of a table of jobs made from the windows that were counted here."""
        jobs = Tally(generation=self._generation, energy=self._energy)
        jobs.warn(*self._warnings)
        jobs.exclude(self._excluded)
        jobs.count(table, column="total_energy_j")
        return jobs.report()

    def report(self) -> LabelReport:
        """What was counted so far."""
        all_zero = self._known > 0 and not self._any_energy
        return LabelReport(
            generation=self._generation,
            energy=self._energy,
            pods=len(self._pods),
            rows=self._rows,
            known=self._known,
            null_reasons=dict(self._reasons.most_common()),
            excluded_pseudo_pods=self._excluded,
            all_zero=all_zero,
            total_energy_j=self._joules,
            warnings=(*self._warnings, ALL_ZERO) if all_zero else tuple(self._warnings),
        )
