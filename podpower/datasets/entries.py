"""The one schema of specs and their measurements: parallel columns that training, the model and requests share.

numpy only: the prediction path imports this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Workload = tuple[str, str, str]
Positions = NDArray[np.int64] | NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Specs of workloads, a row for each (cluster, workload, spec hash), before anything is measured.

    `controllers` name what keeps the pods alive (`podpower.features.names`), `physical_power_w` is the estimate of
    `podpower.features.physical` (NaN: unknown), `vectors` (m, dim) are the encoder's. An empty cluster or image key is
    unknown.
    """

    spec_hashes: Sequence[str]
    clusters: Sequence[str]
    namespaces: Sequence[str]
    kinds: Sequence[str]
    names: Sequence[str]
    controllers: Sequence[str]
    image_keys: Sequence[str]
    physical_power_w: NDArray[np.float64]
    vectors: NDArray[Any]

    def __len__(self) -> int:
        return len(self.physical_power_w)

    def workload(self, row: int) -> Workload:
        """Return namespace, kind and name of one row."""
        return self.namespaces[row], self.kinds[row], self.names[row]

    @property
    def workloads(self) -> list[Workload]:
        """Namespace, kind and name of each row."""
        return list(zip(self.namespaces, self.kinds, self.names, strict=True))

    def take(self, index: Positions) -> Self:
        """Return the rows at `index` (positions or a mask), in that order."""
        positions = np.arange(len(self))[index]
        return self._each(lambda column: _taken(column, positions))

    def part(self, rows: slice) -> Self:
        """Return the rows of a slice."""
        return self._each(lambda column: column[rows])

    def _each(self, of: Any) -> Self:
        return type(self)(**{field.name: of(getattr(self, field.name)) for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class MeasuredEntries(Entries):
    """Entries with what was measured of each: what a model is made of.

    `power_w` are mean watts, `total_energy_j` mean joules of a job (NaN: not one), `seconds` how much of it is known
    (older seconds count less), `share` is one over the number of entries of the workload, so that a workload with many
    revisions counts once, `spread` how far (in logs) periods of the entry are from what was known of it before, at the
    farthest horizon, and `next_spread` the same one period ahead.
    """

    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    seconds: NDArray[np.float64]
    share: NDArray[np.float64]
    spread: NDArray[np.float64]
    next_spread: NDArray[np.float64]

    @property
    def specs(self) -> Entries:
        """The same rows without what was measured."""
        return Entries(**{field.name: getattr(self, field.name) for field in fields(Entries)})


def _taken(column: Any, positions: NDArray[np.int64]) -> Any:
    return column[positions] if isinstance(column, np.ndarray) else [column[int(i)] for i in positions]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """n examples in parallel columns, sorted by entry and period (or pod); `entry` is the row of `entries` of each.

    `power_w` is the mean over the known seconds of the example, `seconds` their number, `total_energy_j` the mean of
    its jobs (NaN: not a job), `first_s` and `last_s` the times of its earliest and latest label, `pods` one of its
    pods, `blocks` the widths of the encoder's blocks of columns. The workload of an entry, which cross-validation
    leaves out, is (namespace, kind, name), or the pod itself where a Node owns it. `left_out` counts rows without a
    usable label by reason, `older_hashes` the entries of the whole training set whose spec hash is of an older version.
    """

    entries: Entries
    entry: NDArray[np.int64]
    pods: Sequence[str | None]
    first_s: NDArray[np.float64]
    last_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    seconds: NDArray[np.float64]
    blocks: tuple[int, ...]
    step_seconds: float
    energy: str | None
    encoder_fingerprint: str
    left_out: dict[str, int]
    older_hashes: int = 0

    def __len__(self) -> int:
        return len(self.power_w)

    def queries(self) -> Entries:
        """Return the entry of each example: what a model predicts them from."""
        return self.entries.take(self.entry)

    def at_most(self, count: int) -> "Examples":
        """So many of them, spread evenly; all where there are no more."""
        return self if len(self) <= count else self.take(np.linspace(0, len(self) - 1, count).astype(np.int64))

    def encoded(self, vectors: NDArray[np.float32], *, blocks: tuple[int, ...], fingerprint: str) -> "Examples":
        """Return the same examples with vectors (m, dim) of another encoder."""
        entries = replace(self.entries, vectors=vectors)
        return replace(self, entries=entries, blocks=blocks, encoder_fingerprint=fingerprint)

    def take(self, index: Positions) -> "Examples":
        """Return the examples at `index` (positions or a mask), in that order, and the entries they are of."""
        positions = np.arange(len(self))[index]
        used, entry = np.unique(self.entry[positions], return_inverse=True)
        columns = ("pods", "first_s", "last_s", "power_w", "total_energy_j", "seconds")
        return replace(
            self,
            entries=self.entries.take(used),
            entry=entry.astype(np.int64),
            **{name: _taken(getattr(self, name), positions) for name in columns},
        )
