"""The Dagster instance that the chart configures, loaded by Dagster on a real PostgreSQL and a real S3 server."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.utils import make_new_run_id
from dagster_k8s.job import construct_dagster_k8s_job
from kubernetes.client import ApiClient

from podpower_assets.executor import PartitionExecutor, StartsStepsInPods
from podpower_assets.launcher import LocalRunLauncher
from podpower_assets.model.assets import NAME as KNN_MODEL
from podpower_assets.model.evaluation import NAME as MODEL_EVALUATION
from podpower_assets.model.schedules import evaluation_job, model_job
from podpower_assets.pods import TRAINING_ASSETS, TRAINING_JOBS, PodRunLauncher, trains
from tests.helm.charts import SCALED, containers, find, pods, rendered
from tests.helm.pod_security import violations
from tests.postgres import serving_postgres
from tests.s3 import forget_servers, new_bucket, serving_s3


@pytest.fixture(scope="module")
def postgres():
    with serving_postgres() as url:
        yield url


def home(objects, folder: Path, change=lambda _settings: None) -> Path:
    """DAGSTER_HOME as the pods have it, with places of this machine."""
    text = find(objects, "ConfigMap", "-dagster")["data"]["dagster.yaml"].replace("/data/", f"{folder}/data/")
    settings = yaml.safe_load(text)
    change(settings)
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return folder


def migrate(folder, url):
    environment = {**os.environ, "DAGSTER_HOME": str(folder), "PODPOWER_POSTGRES_URL": url}
    command = [sys.executable, "-W", "ignore", "-m", "podpower_assets.migrate"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_the_default_instance_is_on_postgresql_and_runs_are_processes(postgres, tmp_path, monkeypatch):
    folder = home(rendered(), tmp_path / "home")
    done = migrate(folder, postgres)
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("PODPOWER_POSTGRES_URL", postgres)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert "postgres" in type(instance.run_storage).__name__.lower()
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        assert instance.run_monitoring_enabled
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2
        instance.event_log_storage.get_pool_limits()
    assert migrate(folder, postgres).returncode == 0, "a history of this version is left as it is"


def test_a_database_that_does_not_answer_is_one_line(tmp_path):
    folder = home(rendered(), tmp_path / "home")
    code = "import podpower_assets.migrate as m; m.WAIT_SECONDS = 0.0; m.main()"
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(folder),
        "PODPOWER_POSTGRES_URL": "postgresql://d:secret@127.0.0.1:9/d",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: the database of PODPOWER_POSTGRES_URL does not answer within 0 s"
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: me, user: {token: t}}]
"""


@pytest.fixture(scope="module")
def scaled(postgres, tmp_path_factory):
    """The instance of the scaled profile, with an S3 server of this machine and an API server that does not answer."""
    tmp_path = tmp_path_factory.mktemp("scaled")
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)

    def here(settings):
        launcher = settings["run_launcher"]["config"]
        launcher |= {"load_incluster_config": False, "kubeconfig_file": str(tmp_path / "kubeconfig")}
        settings["compute_logs"]["config"]["root"] = f"{bucket}/podpower/logs"

    with serving_s3() as environment, pytest.MonkeyPatch.context() as monkeypatch:
        bucket = new_bucket(environment)
        for name, value in {**environment, "PODPOWER_POSTGRES_URL": postgres}.items():
            monkeypatch.setenv(name, value)
        forget_servers()
        with dg.DagsterInstance.from_config(str(home(rendered(SCALED), tmp_path / "home", here))) as instance:
            yield instance


def run_of(**fields):
    return dg.DagsterRun(job_name=fields.pop("job_name", "__ASSET_JOB"), run_id=make_new_run_id(), **fields)


def test_a_run_of_the_scaled_profile_has_what_its_code_location_has(scaled):
    launcher = scaled.run_launcher
    assert isinstance(launcher, PodRunLauncher)
    assert isinstance(launcher, StartsStepsInPods)
    [code] = [c for _, pod in pods(rendered(SCALED)) for c in containers(pod) if c["name"] == "code-location"]
    [template] = [pod for name, pod in pods(rendered(SCALED)) if name == "Deployment/podpower-platform"]
    context = launcher.get_container_context_for_run(run_of())
    job_config = context.get_k8s_job_config(None, launcher)
    job = construct_dagster_k8s_job(job_config, ["dagster"], "run", user_defined_k8s_config=context.run_k8s_config)
    own = ApiClient().sanitize_for_serialization(job)["spec"]["template"]["spec"]
    made = own["containers"][0]
    assert made["image"] == code["image"]
    assert made["securityContext"] == code["securityContext"]
    assert made["envFrom"] == code["envFrom"]
    assert all(variable in made["env"] for variable in code["env"])
    assert made["volumeMounts"] == code["volumeMounts"]
    volumes = [volume for volume in template["spec"]["volumes"] if volume["name"] != "token"]
    assert own["volumes"] == volumes
    assert own["securityContext"] == template["spec"]["securityContext"]
    assert own["serviceAccountName"] == "podpower-run"
    assert violations({"spec": own}) == []


def test_a_run_that_trains_has_more_memory(scaled):
    launcher = scaled.run_launcher
    values = yaml.safe_load((Path(__file__).parents[2] / "helm/podpower/values.yaml").read_text())["runs"]

    def resources(run):
        return launcher.get_container_context_for_run(run).run_k8s_config.container_config["resources"]

    assert resources(run_of()) == values["resources"]
    for run in (run_of(asset_selection={dg.AssetKey("knn_model")}), run_of(job_name="served_day")):
        assert trains(run)
        assert resources(run) == values["trainingResources"]
    assert {model_job.name, evaluation_job.name} == TRAINING_JOBS
    assert {KNN_MODEL, MODEL_EVALUATION} == TRAINING_ASSETS


def test_runs_are_alive_while_the_api_server_does_not_answer(scaled):
    found = scaled.run_launcher.check_run_worker_health(run_of(status=dg.DagsterRunStatus.STARTED))
    assert found.status == WorkerStatus.RUNNING


def test_logs_of_a_run_are_on_object_storage(scaled):
    manager, key = scaled.compute_log_manager, ["one", "compute_logs", "step"]
    with manager.open_log_stream(key, ComputeIOType.STDERR) as stream:
        stream.write("what it printed\n")
    assert manager.is_capture_complete(key)
    data, cursor = manager.get_log_data_for_type(key, ComputeIOType.STDERR, 0, None)
    assert (data, cursor) == (b"what it printed\n", 16)
    assert manager.get_log_metadata(key).stderr_location.startswith("s3://")
    manager.delete_logs(log_key=key)
    assert not manager.cloud_storage_has_logs(key, ComputeIOType.STDERR)


def test_only_backfills_have_steps_in_pods(scaled, monkeypatch):
    executed = []
    monkeypatch.setattr(type(scaled.run_launcher), "step_executor", lambda *_: _Recorded("pods", executed))
    monkeypatch.setattr("podpower_assets.executor.InProcessExecutor", lambda *_: _Recorded("process", executed))
    for tags in ({}, {"dagster/backfill": "x"}):
        context = type("Context", (), {"instance": scaled, "dagster_run": run_of(tags=tags)})
        list(PartitionExecutor().execute(context, None))
    assert executed == ["process", "pods"]


class _Recorded:
    def __init__(self, name, executed):
        self.name, self.executed = name, executed

    def execute(self, *_):
        self.executed.append(self.name)
        yield from ()
