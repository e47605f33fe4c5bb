"""Runs in pods of their own: a launcher that makes a Kubernetes Job for each run, and for each step of a backfill.

It needs the extra `pods`. Bodies of assets write each partition whole, so that a run whose pod lives on after it was
reported failed leaves the same table as the one that replaces it.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Self

import dagster as dg
from dagster._core.execution.context.system import IStepContext
from dagster._core.execution.plan.objects import StepRetryData
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.base import Executor
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._utils import send_interrupt
from dagster._utils.error import SerializableErrorInfo
from dagster_k8s.client import DagsterKubernetesClient, k8s_api_retry_creation_mutation
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_job_name_from_run_id
from dagster_k8s.launcher import K8sRunLauncher
from kubernetes.client import V1Job

from podpower_assets.policies import KUBERNETES_JOB_TAG, MAX_RETRIES
from podpower_assets.retry_tags import tag_retry

# What learns or evaluates a model needs more memory than what makes an hour.
TRAINING_ASSETS: Final = frozenset({"knn_model", "model_evaluation"})
TRAINING_JOBS: Final = frozenset({"finished_day", "served_day"})
_NO_JOB: Final = "could not be found"  # the end of what Dagster's launcher reports of a Job that does not exist
_ATTEMPTS, _ATTEMPT_SECONDS = 25, 10.0  # to make a Job: together less than a run is given to start
_REQUEST_SECONDS = 10.0
_HEALTH_SECONDS = 10  # between two looks at the Jobs of steps
_LOOK_SECONDS = 5.0  # between two looks of an executor whether its run was ended


class PodRunLauncher(K8sRunLauncher):
    """Makes a Job for each run, with other resources for one that trains.

    While the API server does not answer, runs are reported alive: they are, and one that is not is found later.
    Dagster's launcher reports them unknown, which run monitoring takes for failed.
    """

    def __init__(
        self, *, training_resources: Mapping[str, Any] | None = None, steps_in_pods: bool = True, **config: Any
    ) -> None:
        super().__init__(**config)
        self._api_client = _PatientClient.of(self._api_client)
        self._training = {"container_config": {"resources": training_resources}} if training_resources else {}
        self._steps_in_pods = steps_in_pods

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the configuration of Dagster's launcher, and what this one adds."""
        added = {
            "training_resources": dg.Field(dg.Permissive(), is_required=False),
            "steps_in_pods": dg.Field(bool, is_required=False, default_value=True),
        }
        return {**super().config_type(), **added}

    def get_container_context_for_run(self, dagster_run: dg.DagsterRun) -> K8sContainerContext:
        """Return what the pod of a run has."""
        context = super().get_container_context_for_run(dagster_run)
        if not trains(dagster_run):
            return context
        return context.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(self._training)))

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return FAILED only for a run whose Job failed or does not exist."""
        job = run.tags.get(KUBERNETES_JOB_TAG)
        if job is not None:
            return self._health_of(job)
        found = super().check_run_worker_health(run)
        if found.status is WorkerStatus.UNKNOWN:
            status = WorkerStatus.FAILED if (found.msg or "").endswith(_NO_JOB) else WorkerStatus.RUNNING
            found = CheckRunHealthResult(status, found.msg)
        if found.status is WorkerStatus.FAILED:
            tag_retry(self._instance, run)
        return found

    def _health_of(self, job: str) -> CheckRunHealthResult:
        """Return the health of a run in the pod of a Job that this launcher did not make. Nothing retries it."""
        try:
            found = self._api_client.get_job_status(job, self.job_namespace)
        except Exception as error:  # whatever it is, the run lives as long as nothing shows the contrary
            return CheckRunHealthResult(WorkerStatus.RUNNING, str(error))
        if found is None:
            return CheckRunHealthResult(WorkerStatus.FAILED, f"Job {job} {_NO_JOB}")
        if not found.active and (found.failed or found.succeeded):
            return CheckRunHealthResult(WorkerStatus.FAILED, f"Job {job} has ended")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Return what explains that a run failed. Run monitoring calls this before it reports a run that did not start,
        or did not end when it was cancelled: its Job is deleted, lest its pod stays or starts beside that of a retry.
        """
        found = super().get_run_worker_debug_info(run, include_container_logs=include_container_logs)
        if run.status is dg.DagsterRunStatus.STARTING:
            tag_retry(self._instance, run)
        if run.status in (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING):
            self._api_client.delete_job(get_job_name_from_run_id(run.run_id), self.job_namespace)
        return found

    def launch_run(self, context: LaunchRunContext) -> None:
        """Make the Job of a run. A run whose Job cannot be made is reported failed by the daemon, and retried."""
        try:
            super().launch_run(context)
        except Exception:  # whatever it is, the daemon reports the run failed
            tag_retry(self._instance, context.dagster_run)
            raise

    def step_executor(self, retries: RetryMode) -> Executor | None:
        """Return the executor of steps in pods; None where they stay in the process of their run."""
        if not self._steps_in_pods:
            return None
        handler = _StepHandler(
            image=None,
            container_context=K8sContainerContext(),
            load_incluster_config=self.load_incluster_config,
            kubeconfig_file=self.kubeconfig_file,
            per_step_k8s_config=dict.fromkeys(TRAINING_ASSETS, self._training) if self._training else {},
        )
        return _StepsInPods(
            handler,
            retries=retries,
            should_verify_step=True,
            check_step_health_interval_seconds=_HEALTH_SECONDS,
        )


class _PatientClient(DagsterKubernetesClient):
    """Makes a Job as soon as the API server answers, within four minutes.

    Dagster's client gives up after 30 seconds, which fails the run, and with it each of its steps that still run.
    """

    @classmethod
    def of(cls, client: DagsterKubernetesClient) -> Self:
        """Return a patient client in place of Dagster's."""
        return cls(client.batch_api, client.core_api, client.logger, client.sleeper, client.timer)

    def create_namespaced_job_with_retries(
        self, body: V1Job, namespace: str, wait_time_between_attempts: float = _ATTEMPT_SECONDS
    ) -> None:
        """Make a Job. DagsterK8sAPIRetryLimitExceeded where the API server does not answer in time."""
        k8s_api_retry_creation_mutation(
            lambda: self.batch_api.create_namespaced_job(
                body=body, namespace=namespace, _request_timeout=_REQUEST_SECONDS
            ),
            max_retries=_ATTEMPTS - 1,
            timeout=wait_time_between_attempts,
        )


class _StepHandler(K8sStepHandler):
    """Makes a Job for each step, with a patient client."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._api_client = _PatientClient.of(self._api_client)


class _StepsInPods(StepDelegatingExecutor):
    """Starts a step again whose pod was lost, with its node or by an eviction, and ends where its run was ended.

    Dagster's executor fails the step, and run retries leave out runs that a failed step has failed. Of a run that was
    reported failed and lives on, as after an outage, it would wait for ever for steps that see this and do nothing.
    """

    _next_look_s = 0.0

    def _pop_events(self, instance: dg.DagsterInstance, run_id: str, seen_storage_ids: set[int]) -> Any:
        """Return the new events of the run; interrupt a run that was ended by others, which ends its steps too."""
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _LOOK_SECONDS
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                send_interrupt()
        return super()._pop_events(instance, run_id, seen_storage_ids)

    def log_failure_or_retry_event_after_error(
        self, step_context: IStepContext, err_info: SerializableErrorInfo, known_state: KnownExecutionState
    ) -> dg.DagsterEvent:
        """Record that the step is started again, or after three times that it failed."""
        if known_state.get_retry_state().get_attempt_count(step_context.step.key) < MAX_RETRIES:
            return dg.DagsterEvent.step_retry_event(step_context, StepRetryData(error=err_info, seconds_to_wait=None))
        return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)


def trains(run: dg.DagsterRun) -> bool:
    """Return True for a run that learns or evaluates a model."""
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    return bool(selected & TRAINING_ASSETS) or run.job_name in TRAINING_JOBS
