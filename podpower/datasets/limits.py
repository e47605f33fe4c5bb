"""Limits of plausible labels."""

from typing import Final

# A pod runs on one node, and a large one (eight accelerators: NVIDIA DGX B200, data sheet) is built for 14.3 kW.
MAX_POWER_W: Final = 20_000.0
