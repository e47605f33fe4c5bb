"""Tag of a run that will be retried, set before the run is reported failed.

Dagster reports a run failed first and records its retry a moment later. A tick of the backfill daemon between the two
takes the partitions for failed for good, and the backfill ends without the retry.
"""

import dagster as dg
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.storage.tags import WILL_RETRY_TAG


def tag_retry(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run that is about to be reported failed with whether it will be retried."""
    if instance.run_retries_enabled:
        retried = auto_reexecution_should_retry_run(instance, run.with_status(dg.DagsterRunStatus.FAILURE), None)
        instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: str(retried).lower()})
