"""What a model must beat: predictors that know little, and the recipe of the reference system (k8sPodPCP)."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from podpower.features.columns import NUMERIC_COLUMNS
from podpower.model.neighbours import Index

# Known entries with their values on the log scale and back, then the queries: values for each query.
Baseline = Callable[[Index, NDArray[np.float64], NDArray[np.float32], Sequence[str | None]], NDArray[np.float64]]

REFERENCE_NEIGHBOURS = 5


def constant(
    index: Index, log_values: NDArray[np.float64], vectors: NDArray[np.float32], image_keys: Sequence[str | None]
) -> NDArray[np.float64]:
    """The same for all: the mean log over entries, which is the geometric mean."""
    del index, image_keys
    return np.full(len(vectors), log_values.mean())


def image_mean(
    index: Index, log_values: NDArray[np.float64], vectors: NDArray[np.float32], image_keys: Sequence[str | None]
) -> NDArray[np.float64]:
    """The mean log over entries of the same image, whatever its tag; `constant` for an image not seen."""
    by_image: dict[str | None, list[float]] = defaultdict(list)
    for key, value in zip(index.image_keys, log_values, strict=True):
        by_image[key].append(float(value))
    otherwise = constant(index, log_values, vectors, image_keys)
    known = [float(np.mean(by_image[key])) if key in by_image else np.nan for key in image_keys]
    return np.where(np.isnan(known), otherwise, known)


def reference_recipe(
    index: Index, log_values: NDArray[np.float64], vectors: NDArray[np.float32], image_keys: Sequence[str | None]
) -> NDArray[np.float64]:
    """Five neighbours by cosine distance over z-scored resources, averaged evenly and without logarithms.

    The reference trains on one row a step, hundreds of them equal in features, so its five neighbours are five steps
    of one workload: each entry is therefore repeated five times here.
    """
    del image_keys
    columns = slice(0, min(vectors.shape[1], 2 * len(NUMERIC_COLUMNS)))  # the encoder's numeric block comes first
    known = np.repeat(index.vectors[:, columns], REFERENCE_NEIGHBOURS, axis=0).astype(np.float64)
    values = np.repeat(np.exp(log_values), REFERENCE_NEIGHBOURS)
    recipe = make_pipeline(
        StandardScaler(), KNeighborsRegressor(n_neighbors=REFERENCE_NEIGHBOURS, metric="cosine", algorithm="brute")
    )
    recipe.fit(known, values)
    predicted: NDArray[np.float64] = np.log(recipe.predict(vectors[:, columns].astype(np.float64)))
    return predicted


BASELINES: Mapping[str, Baseline] = {
    "constant": constant,
    "image mean": image_mean,
    "reference recipe": reference_recipe,
}
