"""The launcher of runs in pods, at an API server that fails."""

import logging
import time

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.context_creation_job import (
    PlanOrchestrationContextManager,
    orchestration_context_event_generator,
)
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._core.launcher.base import WorkerStatus
from dagster._daemon.monitoring.run_monitoring import monitor_canceling_run, monitor_starting_run
from dagster._utils.error import SerializableErrorInfo
from dagster._utils.interrupts import capture_interrupts, pop_captured_interrupt
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job, get_job_name_from_run_id

from podpower_assets import pods
from podpower_assets.pods import PodRunLauncher
from podpower_assets.policies import KUBERNETES_JOB_TAG
from tests.clusters.fake import FakeCluster
from tests.clusters.jobs import add_pod, make_job
from tests.clusters.objects import write_kubeconfig


@pytest.fixture
def cluster():
    with FakeCluster() as cluster:
        yield cluster


@pytest.fixture
def launcher(cluster, tmp_path):
    return PodRunLauncher(
        service_account_name="run", instance_config_map="dagster", dagster_home="/etc/dagster", job_image="image",
        job_namespace="power", load_incluster_config=False,
        kubeconfig_file=str(write_kubeconfig(tmp_path / "kubeconfig", cluster.url)),
    )  # fmt: skip


@pytest.mark.parametrize("outage", [0, 500, 503])
def test_a_job_is_made_after_an_outage_of_a_minute(cluster, launcher, monkeypatch, outage):
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if sum(slept) >= 60:
            cluster.outage = None

    monkeypatch.setattr("dagster_k8s.client.time.sleep", sleep)
    cluster.outage = outage
    config = DagsterK8sJobConfig(job_image="image", dagster_home="/etc/dagster")
    job = construct_dagster_k8s_job(config, ["true"], "one")

    for client in (launcher._api_client, launcher.step_executor(RetryMode.ENABLED)._step_handler._api_client):
        client.create_namespaced_job_with_retries(body=job, namespace="power")
        cluster.delete("Job", "power", "one")
        slept.clear()
        cluster.outage = outage


def test_a_step_whose_pod_was_lost_is_started_again_but_not_for_ever(launcher):
    @dg.op
    def step():
        pass

    @dg.job(executor_def=dg.in_process_executor)
    def job():
        step()

    executor = launcher.step_executor(RetryMode.ENABLED)
    error = SerializableErrorInfo(message="the pod is gone", stack=[], cls_name=None)
    known, found = KnownExecutionState(), []
    with dg.DagsterInstance.ephemeral() as instance:
        context = _step_context(job, instance)
        for _ in range(pods.MAX_RETRIES + 1):
            event = executor.log_failure_or_retry_event_after_error(context, error, known)
            known = KnownExecutionState(
                previous_retry_attempts={"step": known.get_retry_state().get_attempt_count("step") + 1}
            )
            found.append(event.event_type)
    assert found == [dg.DagsterEventType.STEP_UP_FOR_RETRY] * pods.MAX_RETRIES + [dg.DagsterEventType.STEP_FAILURE]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE])
def test_a_run_that_was_reported_failed_and_lives_on_is_interrupted(launcher, status):
    with dg.instance_for_test() as instance, capture_interrupts():
        run = instance.create_run_for_job(_job, status=status)
        launcher.step_executor(RetryMode.ENABLED)._pop_events(instance, run.run_id, set())
        assert pop_captured_interrupt() == (status == dg.DagsterRunStatus.FAILURE)


@pytest.mark.parametrize(("retries", "expected"), [(3, "true"), (0, "false")])
def test_a_lost_run_is_recorded_as_retried_before_it_is_reported_failed(launcher, retries, expected):
    """The backfill daemon looks between the two."""
    found = []
    overrides = {"run_retries": {"enabled": True, "max_retries": retries}}
    with dg.instance_for_test(overrides=overrides) as instance:
        launcher.register_instance(instance)
        run = instance.create_run_for_job(_job, status=dg.DagsterRunStatus.STARTED)
        assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED  # it has no Job
        found.append(instance.get_run_by_id(run.run_id).tags["dagster/will_retry"])
    assert found == [expected]


@pytest.mark.parametrize(
    ("status", "monitor", "event", "expected"),
    [
        (dg.DagsterRunStatus.STARTING, monitor_starting_run, dg.DagsterEventType.PIPELINE_STARTING, "FAILURE"),
        (dg.DagsterRunStatus.CANCELING, monitor_canceling_run, dg.DagsterEventType.PIPELINE_CANCELING, "CANCELED"),
    ],
    ids=["start", "cancellation"],
)
def test_a_run_that_takes_too_long_leaves_no_job(cluster, launcher, status, monitor, event, expected):
    """Of its start, or of its end when it was cancelled while the API server did not answer."""
    overrides = {
        "run_retries": {"enabled": True, "max_retries": 3},
        "run_monitoring": {"enabled": True, "start_timeout_seconds": 1, "cancel_timeout_seconds": 1},
    }
    with dg.instance_for_test(overrides=overrides) as instance:
        launcher.register_instance(instance)
        instance._run_launcher = launcher
        run = instance.create_run_for_job(_job, status=dg.DagsterRunStatus.NOT_STARTED)
        instance.handle_new_event(_event_of(run, event, at_s=time.time() - 60))
        job, logger = get_job_name_from_run_id(run.run_id), logging.getLogger("test")
        make_job(launcher._api_client, job, "power")
        add_pod(cluster, job, "power")
        record = instance.get_run_record_by_id(run.run_id)
        assert record.dagster_run.status == status
        monitor(instance, record, logger)
        ended = instance.get_run_by_id(run.run_id)
        assert ended.status.value == expected
        assert ended.tags.get("dagster/will_retry") == ("true" if expected == "FAILURE" else None)
    assert cluster.objects("Job") == cluster.objects("Pod") == []


def test_a_run_of_the_prescore_job_lives_as_long_as_that_job(cluster, launcher, monkeypatch):
    monkeypatch.setattr("dagster_k8s.client.time.sleep", lambda _seconds: None)

    def health():
        return launcher.check_run_worker_health(run).status

    with dg.instance_for_test() as instance:
        launcher.register_instance(instance)
        run = instance.create_run_for_job(_job, status=dg.DagsterRunStatus.STARTED, tags={KUBERNETES_JOB_TAG: "score"})
        assert health() == WorkerStatus.FAILED
        metadata = {"name": "score", "namespace": "power"}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "status": {"active": 1}}
        cluster.add(job)
        assert health() == WorkerStatus.RUNNING
        cluster.outage = 500
        assert health() == WorkerStatus.RUNNING
        cluster.outage = None
        cluster.update({**job, "status": {"failed": 1}})
        assert health() == WorkerStatus.FAILED


def _event_of(run, kind, *, at_s):
    event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
    return dg.EventLogEntry(
        error_info=None, user_message="", level="info", run_id=run.run_id, timestamp=at_s, dagster_event=event
    )


@dg.job(executor_def=dg.in_process_executor)
def _job():
    pass


def _step_context(job, instance):
    run = instance.create_run_for_job(job)
    plan = create_execution_plan(job)
    context = PlanOrchestrationContextManager(
        context_event_generator=orchestration_context_event_generator,
        job=InMemoryJob(job), execution_plan=plan, dagster_run=run, instance=instance, run_config={},
        raise_on_error=True,
    )  # fmt: skip
    list(context.prepare_context())
    return context.get_context().for_step(plan.get_step_by_key("step"))
