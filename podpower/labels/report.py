"""Counts of an export of labels, for people and checks."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from podpower.labels.nodes import NodeRatio
from podpower.labels.windows import KNOWN_S, REASON

NO_GENERATION = "none"  # the `generation` of a time without any series of Kepler's pods
ALL_ZERO = "all energy is 0 J: Kepler finds no hardware counters here, as on most cloud VMs; do not train on this"


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """Counts of one export. `null_reasons` counts the steps (or jobs) without energy by reason, `partly_known` those
    steps among them whose power is known. `node_ratios` compares pods with the counters of their nodes.
    """

    generation: str
    energy: str
    pods: int
    rows: int
    known: int
    partly_known: int = 0
    null_reasons: dict[str, int] = field(default_factory=dict)
    excluded_pseudo_pods: int = 0
    all_zero: bool = False
    total_energy_j: float = 0.0
    label_source: str = ""
    node_ratios: tuple[NodeRatio, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return asdict(self)


class ReportBuilder:
    """Adds up a report table by table."""

    def __init__(self, *, generation: str, energy: str) -> None:
        self._generation, self._energy = generation, energy
        self._warnings: dict[str, None] = {}  # each once, in order
        self._excluded = 0
        self._rows = self._known = self._partly = 0
        self._joules = 0.0
        self._any_energy = False
        self._reasons: Counter[str] = Counter()
        self._pods: set[int] = set()

    def warn(self, *warnings: str) -> None:
        """Keep warnings, each once."""
        self._warnings.update(dict.fromkeys(warnings))

    def exclude(self, pseudo_pods: int) -> None:
        """Count pseudo-pods."""
        self._excluded = max(self._excluded, pseudo_pods)

    def count(self, table: pl.DataFrame, *, column: str) -> None:
        """Add the rows of a table whose energy is in `column`."""
        known = table[column].drop_nulls()
        self._rows += len(table)
        self._known += len(known)
        if KNOWN_S in table.columns:
            self._partly += table.filter(pl.col(column).is_null() & (pl.col(KNOWN_S) > 0)).height
        self._joules += float(known.sum())
        self._any_energy |= bool((known > 0).any())
        self._reasons.update(dict(table[REASON].drop_nulls().value_counts().iter_rows()))
        self._pods.update(table.select(pl.struct("namespace", "pod").hash().unique()).to_series())

    def report(
        self, *, label_source: str = "", node_ratios: tuple[NodeRatio, ...] = (), warnings: tuple[str, ...] = ()
    ) -> LabelReport:
        """Return the counts so far; `warnings` are added to those kept."""
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
            partly_known=self._partly,
            label_source=label_source,
            node_ratios=node_ratios,
            warnings=(*self._warnings, *warnings, *((ALL_ZERO,) if all_zero else ())),
        )
