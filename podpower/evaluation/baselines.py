"""Baselines: simple predictors, and the recipe of the reference system (k8sPodPCP)."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from podpower.datasets.entries import Entries
from podpower.features.columns import NUMERIC_COLUMNS
from podpower.model.scale import FLOOR_W

NUMERIC_WIDTH = 2 * len(NUMERIC_COLUMNS)  # the encoder's numeric block is first
_CELLS = 1 << 22  # products held at a time: 16 MB


@dataclass(frozen=True, kw_only=True)
class Known:
    """Measured entries (n): their NUMERIC_WIDTH first columns of the encoder's vectors, image keys and log values."""

    numbers: NDArray[np.floating]
    image_keys: Sequence[str]
    logs: NDArray[np.float64]


Baseline = Callable[[Known, Entries], NDArray[np.float64]]  # log values (m,) of m queries


def constant(known: Known, queries: Entries) -> NDArray[np.float64]:
    """Predict the geometric mean of all entries."""
    return np.full(len(queries), known.logs.mean())


def image_mean(known: Known, queries: Entries) -> NDArray[np.float64]:
    """Predict the geometric mean of the entries of the same image, whatever its tag; of all for an unknown image."""
    by_image: dict[str, list[float]] = defaultdict(list)
    for key, value in zip(known.image_keys, known.logs.tolist(), strict=True):
        by_image[key].append(value)
    means = {key: float(np.mean(values)) for key, values in by_image.items()}
    found = np.array([means.get(key, np.nan) for key in queries.image_keys], dtype=np.float64)
    return np.where(np.isnan(found), constant(known, queries), found)


def physical(known: Known, queries: Entries) -> NDArray[np.float64]:
    """Predict the estimate from resources, without any label (`podpower.features.physical`)."""
    guess = np.log(queries.physical_power_w + FLOOR_W)
    return np.where(np.isnan(guess), constant(known, queries), guess)


def reference_recipe(known: Known, queries: Entries) -> NDArray[np.float64]:
    """Average five neighbours by cosine distance over z-scored resources, evenly and without logarithms.

    The reference trains on one row a step, hundreds of them equal in features, so its five neighbours are five steps
    of one workload: the nearest.
    """
    own = known.numbers.astype(np.float64)
    mean, deviation = own.mean(axis=0), own.std(axis=0)
    deviation[deviation == 0] = 1.0

    def directions(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        scored = (vectors.astype(np.float64) - mean) / deviation
        lengths = np.linalg.norm(scored, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (scored / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)
        return unit

    among, wanted = directions(known.numbers), directions(queries.vectors[:, :NUMERIC_WIDTH])
    rows = max(1, _CELLS // len(among))
    products, nearest = np.empty((rows, len(among)), dtype=np.float32), np.zeros(len(wanted), dtype=np.int64)
    for start in range(0, len(wanted), rows):
        part = wanted[start : start + rows]
        np.matmul(part, among.T, out=products[: len(part)]).argmax(axis=1, out=nearest[start : start + rows])
    return known.logs[nearest]


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "constant": constant,
        "image mean": image_mean,
        "physical estimate": physical,
        "reference recipe": reference_recipe,
    }
)
