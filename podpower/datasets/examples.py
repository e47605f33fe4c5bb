"""What is known of specs before they run, and what was measured of them: parallel arrays that every room takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Workload = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What is known of m specs before they run, in parallel arrays, one for each (cluster, workload, spec).

    `vectors` (m, dim) are the encoder's, `blocks` the widths of its blocks of columns, `physical_power_w` the estimate
    of `podpower.features.physical` (NaN: not told).
    """

    vectors: NDArray[np.float32]
    spec_hashes: Sequence[str]
    workloads: Sequence[Workload]
    clusters: Sequence[str | None]
    image_keys: Sequence[str | None]
    physical_power_w: NDArray[np.float64]
    blocks: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.spec_hashes)

    def take(self, positions: NDArray[np.int64]) -> "Entries":
        """The entries at `positions`, in that order."""
        return Entries(
            vectors=self.vectors[positions],
            spec_hashes=[self.spec_hashes[i] for i in positions],
            workloads=[self.workloads[i] for i in positions],
            clusters=[self.clusters[i] for i in positions],
            image_keys=[self.image_keys[i] for i in positions],
            physical_power_w=self.physical_power_w[positions],
            blocks=self.blocks,
        )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """n examples in parallel arrays, sorted by entry and window (or pod); `entry` says which of `entries` each is of.

    `power_w` is the mean over the known seconds of the example, `seconds` their number, `total_energy_j` the mean of
    its jobs (NaN: not a job), `first_s` and `last_s` the times of its earliest and latest label, `pods` one of its
    pods. The workload of an entry, which is what cross-validation leaves out, is (namespace, kind, name), or the pod
    itself where a Node owns it. `left_out` counts rows without a usable label by reason.
    """

    entries: Entries
    entry: NDArray[np.int64]
    pods: Sequence[str | None]
    first_s: NDArray[np.float64]
    last_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    total_energy_j: NDArray[np.float64]
    seconds: NDArray[np.float64]
    step_seconds: float
    energy: str | None
    encoder_fingerprint: str
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.power_w)

    def at_most(self, count: int) -> "Examples":
        """So many of them, spread evenly; all where there are no more."""
        return self if len(self) <= count else self.take(np.linspace(0, len(self) - 1, count).astype(np.int64))

    def encoded(self, vectors: NDArray[np.float32], *, blocks: tuple[int, ...], fingerprint: str) -> "Examples":
        """The same, with vectors (m, dim) of another encoder."""
        entries = replace(self.entries, vectors=vectors, blocks=blocks)
        return replace(self, entries=entries, encoder_fingerprint=fingerprint)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Examples":
        """The examples at `index` (positions or a mask), in that order, and the entries they are of."""
        positions = np.arange(len(self))[index]
        used, entry = np.unique(self.entry[positions], return_inverse=True)
        return Examples(
            entries=self.entries.take(used),
            entry=entry.astype(np.int64),
            pods=[self.pods[i] for i in positions],
            first_s=self.first_s[positions],
            last_s=self.last_s[positions],
            power_w=self.power_w[positions],
            total_energy_j=self.total_energy_j[positions],
            seconds=self.seconds[positions],
            step_seconds=self.step_seconds,
            energy=self.energy,
            encoder_fingerprint=self.encoder_fingerprint,
            left_out=self.left_out,
        )
