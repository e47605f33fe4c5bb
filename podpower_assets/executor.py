"""The executor of every run: in its process, and the steps of a backfill in pods where the launcher starts such."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.base import Executor
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.storage.tags import BACKFILL_ID_TAG


@runtime_checkable
class StartsStepsInPods(Protocol):
    """A run launcher that can start steps in pods."""

    def step_executor(self, retries: RetryMode) -> Executor | None:
        """Return the executor of steps in pods; None where they stay in the process of their run."""


class PartitionExecutor(Executor):
    """Executes a run in its process: partitions are small, and a process for each step would cost more than the step.
    Backfills have many; where runs are pods, each of their steps has a pod of its own.
    """

    @property
    def retries(self) -> RetryMode:
        """Steps are retried as they request."""
        return RetryMode.ENABLED

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Yield the events of the run."""
        launcher = plan_context.instance.run_launcher if BACKFILL_ID_TAG in plan_context.dagster_run.tags else None
        in_pods = launcher.step_executor(self.retries) if isinstance(launcher, StartsStepsInPods) else None
        yield from (in_pods or InProcessExecutor(self.retries)).execute(plan_context, execution_plan)


@dg.executor(name="partitions")
def partition_executor(_context: dg.InitExecutorContext) -> PartitionExecutor:
    """Execute a run in its process; of a backfill, where runs are pods, each step in a pod of its own."""
    return PartitionExecutor()
