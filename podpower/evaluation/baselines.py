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


@dataclass(frozen=True, kw_only=True)
class Known:
    """Measured entries (n): vectors (n, dim) of the encoder, image keys and log values (n,)."""

    vectors: NDArray[np.float32]
    image_keys: Sequence[str]
    logs: NDArray[np.float64]


Baseline = Callable[[Known, Entries], NDArray[np.float64]]  # log values (m,) of m queries


def constant(known: Known, queries: Entries) -> NDArray[np.float64]:
    """Predict the geometric mean of all entries."""
    return np.full(len(queries), known.logs.mean())


def image_mean(known: Known, queries: Entries) -> NDArray[np.float64]:
    """Predict the geometric mean of the entries of the same image, whatever its tag; of all for an unknown image."""
    by_image: dict[str, list[float]] = defaultdict(list)
    for key, value in zip(known.image_keys, known.logs, strict=True):
        by_image[key].append(float(value))
    means = [float(np.mean(by_image[key])) if key in by_image else np.nan for key in queries.image_keys]
    return np.where(np.isnan(means), constant(known, queries), means)


def physical(known: Known, queries: Entries) -> NDArray[np.float64]:
    """Predict the estimate from resources, without any label (`podpower.features.physical`)."""
    guess = np.log(queries.physical_power_w + FLOOR_W)
    return np.where(np.isnan(guess), constant(known, queries), guess)


def reference_recipe(known: Known, queries: Entries) -> NDArray[np.float64]:
    """Average five neighbours by cosine distance over z-scored resources, evenly and without logarithms.

    The reference trains on one row a step, hundreds of them equal in features, so its five neighbours are five steps
    of one workload: the nearest. Between vectors of length 1 the nearest by Euclid is the nearest by cosine.
    """
    from sklearn.neighbors import KNeighborsRegressor  # noqa: PLC0415  # slow to import; most runs evaluate nothing
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import Normalizer, StandardScaler  # noqa: PLC0415

    columns = slice(0, min(queries.vectors.shape[1], 2 * len(NUMERIC_COLUMNS)))  # the encoder's numeric block is first
    recipe = make_pipeline(StandardScaler(), Normalizer(), KNeighborsRegressor(n_neighbors=1, algorithm="brute"))
    recipe.fit(known.vectors[:, columns].astype(np.float64), np.exp(known.logs))
    predicted: NDArray[np.float64] = np.log(recipe.predict(queries.vectors[:, columns].astype(np.float64)))
    return predicted


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "constant": constant,
        "image mean": image_mean,
        "physical estimate": physical,
        "reference recipe": reference_recipe,
    }
)
