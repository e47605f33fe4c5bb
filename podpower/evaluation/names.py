"""Names of the splits, as reports, artifacts and lists of models have them."""

from typing import Final

UNSEEN: Final = "unseen workloads"
FORWARD: Final = "time forward"
STEPWISE: Final = "step by step"
TRANSFER: Final = "another cluster"
SERVED: Final = "served model"
