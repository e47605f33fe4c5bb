"""Policies of every asset: its owner, its backfills, what is retried, and how often what changes is made again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import dagster as dg
import msgspec

from podpower.errors import PodpowerError, Unavailable

MAX_RETRIES = 3
_RETRY_SECONDS = 10.0

PARTITIONS_A_RUN: Final = 24  # of a backfill, and of what a sensor requests at once
RUNS_A_TICK: Final = 4
COMMON: dict[str, Any] = {
    "owners": ["team:podpower"],
    "backfill_policy": dg.BackfillPolicy.multi_run(max_partitions_per_run=PARTITIONS_A_RUN),
}
# Pools, which the daemon limits when it starts.
TRAINING, EXPORT = "training", "export"

# Limits the time of runs that start by themselves, so that a hanging one does not hold the queue. Backfills have the
# longer limit of dagster.yaml.
LIMITED: dict[str, str] = {"dagster/max_runtime": "7200"}

# Dagster runs what automation requests in its own job of all assets, whose name cannot be chosen
# (`_get_implicit_job_name_for_assets` of dagster/_core/execution/submit_asset_runs.py): the tag names it.
JOB_TAG: Final = "podpower/job"
FOLLOWS: dict[str, str] = {JOB_TAG: "follow_changes"}

# A run in the pod of a Job that no launcher made.
KUBERNETES_JOB_TAG: Final = "podpower/kubernetes-job"

# The running hour is made again at most so often, and all of its assets in one run.
HOUR_EVERY_S: Final = 600.0
# Apart from that, a spec that was never seen is in a promoted model within ten minutes: it is given time for its first
# samples, and new specs are not followed more often than this: eleven times in the 58 minutes of an hour that have
# some.
# With as many models, the schedules, the fleet summary and late labels that is at most 30 runs (held by a test).
FIRST_SAMPLES_S: Final = 120.0
NEW_SPEC_EVERY_S: Final = 320.0
# Models: six an hour in the first day of a platform, hourly later; a new spec as above.
MODEL_EVERY_S: Final = 600.0
LATER_MODEL_EVERY_S: Final = 3600.0
FIRST_DAY_S: Final = 86_400.0
# The hour that ended is the schedule's, minutes after its end; what changed in it since is left to the sensor.
HOUR_ENDS_AFTER_S: Final = 900.0
# Of the ticks of a schedule that passed while Dagster was down only the last one is made good: the sensor looks at each
# hour so long after its end, and requests it if no run was made for it since.
MISSED_AFTER_S: Final = 3600.0
# Evaluations of days are looked at so long after the end of the day.
MISSED_DAY_AFTER_S: Final = 6 * 3600.0
# Of more than so many minutes no power is known: the source of samples may have had them later.
MOST_SILENT_MINUTES: Final = 3

# A failed partition is requested again: at the next quarter of an hour, then after these waits, the last one for ever.
QUARTER_S: Final = 900.0
WAITS_S: Final = (3600.0, 6 * 3600.0, 86_400.0)
# Labels of an hour from an answer that was not whole are made again after each of these waits once, then never: perhaps
# nothing was measured in the hour. Where many hours wait they share one run an hour. Within these days all waits have
# passed.
LATE_WAITS_S: Final = (QUARTER_S, *WAITS_S)
LATE_DAYS: Final = 3


def wait_s(attempts: int) -> float:
    """Return how long to wait after so many requests that failed.

    >>> [wait_s(attempts) / 3600 for attempts in (1, 2, 3, 4)]
    [1.0, 6.0, 24.0, 24.0]
    """
    return WAITS_S[min(attempts, len(WAITS_S)) - 1]


class Requested(msgspec.Struct):
    """A partition that is requested again until it is made: how often it was, and when last."""

    requests: int = 0
    at_s: float = 0.0

    def is_due(self, now_s: float) -> bool:
        """Return whether to request it: at once, and again where that did not help after longer waits."""
        return self.requests == 0 or now_s - self.at_s >= wait_s(self.requests)

    def once_more(self, now_s: float) -> "Requested":
        """Return this after one more request."""
        return Requested(requests=self.requests + 1, at_s=now_s)


def retry_later() -> dg.RetryRequested:
    """Return the request to run a step again, for what may become available."""
    return dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=_RETRY_SECONDS)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors into Dagster's: a retry for what may become available, a failure for wrong input."""
    try:
        yield
    except Unavailable as error:
        raise retry_later() from error
    except PodpowerError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
