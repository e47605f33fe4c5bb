"""The logarithmic scale on which power is averaged and errors are judged: it is close to log-normal over workloads."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)

# Added to watts before the logarithm: one joule in a minute. Below it the counters' resolution decides, not the pod.
FLOOR_W = 1.0 / 60.0
_MAX_LOG = float(np.log(1e6))  # a megawatt: no end of an interval needs more, and the exponential stays finite


def to_log(power_w: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(power + FLOOR_W)."""
    logs: NDArray[np.float64] = np.log(power_w + FLOOR_W)
    return logs


def from_log(logs: NDArray[Float]) -> NDArray[Float]:
    """Return the watts of `to_log`: never negative, at most a megawatt."""
    power_w = np.minimum(logs, _MAX_LOG)
    np.exp(power_w, out=power_w)
    power_w -= FLOOR_W
    np.maximum(power_w, 0.0, out=power_w)
    return power_w
