"""The distance between two workloads, and the weight of a neighbour at that distance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Two workloads of one image and kind whose texts are closer than this are the same software: a name with another prefix
# or node is about 0.4 away, another program of the same image 0.6.
ALIKE = 0.35
_FIRST_TEXT = 2  # after numbers and categories, as `podpower.features.encoder` orders its blocks
_TEXT_BLOCKS = 3


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The squared distance is the sum over blocks of columns of weight x squared Euclidean distance.

    Its unit is the kernel's bandwidth: a neighbour at distance d weighs exp(-d^2 / 2). `blocks` are widths of blocks.
    """

    blocks: tuple[int, ...]
    weights: tuple[float, ...]

    def scales(self) -> NDArray[np.float32]:
        """Return the factor of each column (dim,) that makes plain Euclidean distance this metric's."""
        return np.repeat(np.sqrt(np.array(self.weights)), self.blocks).astype(np.float32)

    def texts(self) -> tuple[slice, np.float32] | None:
        """Return the columns that name the software and the factor that gives each text encoder an equal part; None
        where there are none.
        """
        if len(self.blocks) < _TEXT_BLOCKS or not all(self.weights[_FIRST_TEXT:]) or not all(self.blocks[_FIRST_TEXT:]):
            return None
        columns = slice(sum(self.blocks[:_FIRST_TEXT]), sum(self.blocks))
        return columns, np.float32(1.0 / np.sqrt(len(self.blocks) - _FIRST_TEXT))

    def state(self) -> dict[str, Any]:
        """Return plain numbers for the artifact."""
        return {"blocks": list(self.blocks), "weights": list(self.weights)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Metric":
        """Return the metric that gave `state`. ValueError when it is none."""
        blocks, weights = tuple(state["blocks"]), tuple(float(w) for w in state["weights"])
        if len(blocks) != len(weights) or not all(w >= 0 and np.isfinite(w) for w in weights):
            raise ValueError("the metric has no weight for each block")
        return cls(blocks=blocks, weights=weights)


def kernel(squared_distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights in [0, 1] of squared distances in bandwidths."""
    weights: NDArray[np.float64] = np.exp(-0.5 * squared_distances)
    return weights


def alike_kernel(squared_text_distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights in [0, 1] of squared distances between texts of unit length."""
    return kernel(squared_text_distances / ALIKE**2)
