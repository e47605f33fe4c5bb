"""The logarithmic scale on which power is averaged and errors are judged: it is close to log-normal over workloads."""

import numpy as np
from numpy.typing import NDArray

# Added to watts before the logarithm: one joule in a minute. Below it the counters' resolution decides, not the pod.
FLOOR_W = 1.0 / 60.0


def to_log(power_w: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(power + FLOOR_W)."""
    logs: NDArray[np.float64] = np.log(power_w + FLOOR_W)
    return logs


def from_log(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Watts, never negative, of `to_log`."""
    power_w: NDArray[np.float64] = np.maximum(np.exp(logs) - FLOOR_W, 0.0)
    return power_w
