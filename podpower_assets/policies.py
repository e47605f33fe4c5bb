"""Policies of every asset: its owner, its retries, its backfills."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import dagster as dg

from podpower.errors import PodpowerError, Unavailable

MAX_RETRIES = 3
_RETRY_SECONDS = 10.0

# Any range of partitions is one run, which makes them one after another.
IN_ONE_RUN = dg.BackfillPolicy.single_run()

COMMON: dict[str, Any] = {"owners": ["team:podpower"], "backfill_policy": IN_ONE_RUN}

# Limits the time of runs that start by themselves, so that a hanging one does not hold the queue. Backfills have the
# longer limit of dagster.yaml.
LIMITED: dict[str, str] = {"dagster/max_runtime": "7200"}

# A sensor requests a run once, whether or not it succeeds: partitions whose last run failed are requested again. Only
# in the days that models are trained on: a backfill of older hours is watched by whoever started it.
FAILED_BEFORE = (
    dg.AutomationCondition.execution_failed()
    & dg.AutomationCondition.cron_tick_passed("*/15 * * * *")
    & dg.AutomationCondition.in_latest_time_window(timedelta(days=7))
    & ~dg.AutomationCondition.in_progress()
)

# A dependency was materialized again, in whichever partition, and nothing upstream is in progress.
FOLLOWS_ITS_DEPENDENCIES = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors into Dagster's: a retry for what may become available, a failure for wrong input."""
    try:
        yield
    except Unavailable as error:
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=_RETRY_SECONDS) from error
    except PodpowerError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
