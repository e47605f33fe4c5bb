"""Metrics of the webhook."""

from podpower_serving.metrics import ADMISSION_OVER_BUDGET, ADMISSION_REQUESTS, Metrics


class Counts:
    """Counts reviews by outcome, and admitted objects beyond a budget by namespace."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()

    def request(self, outcome: str) -> None:
        """Count a review."""
        self._metrics.add(ADMISSION_REQUESTS, str(outcome))

    def over_budget(self, namespace: str) -> None:
        """Count an object that exceeds the budget of its namespace."""
        self._metrics.add(ADMISSION_OVER_BUDGET, namespace)
