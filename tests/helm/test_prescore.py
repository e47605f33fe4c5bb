"""The prescore CronJob of the scaled profile: a pod of it on the runner, started once as the Job controller does."""

import time
from urllib.parse import urlsplit

import dagster as dg
import pytest

from benchmarks.scale.made_cluster import MadeCluster, write_journal
from podpower import settings
from podpower.fleet.summary import read_summary
from podpower.hours import HOUR_S, start_of_hour
from podpower.registry.store import ModelStore
from podpower_assets.definitions import definitions
from podpower_assets.partitions import hour_key, range_tags
from podpower_assets.policies import KUBERNETES_JOB_TAG
from tests.clusters.objects import write_kubeconfig
from tests.helm.charts import SCALED, containers, find, rendered
from tests.postgres import serving_postgres
from tests.runner import Runner, need_namespaces
from tests.runner.scaled import QUIET, dagster_home, secret, uploaded
from tests.s3 import forget_servers, new_bucket, serving_s3

JOB = "podpower-prescore-29000000"
WORKLOADS = 4


def template(objects):
    return find(objects, "CronJob", "-prescore")["spec"]["jobTemplate"]["spec"]["template"]


def test_its_pod_has_the_environment_of_the_code_location():
    objects = rendered(SCALED)
    [own] = containers(template(objects))
    platform = find(objects, "Deployment", "-platform")["spec"]["template"]
    code = next(one for one in platform["spec"]["containers"] if one["name"] == "code-location")
    for field in ("image", "envFrom", "volumeMounts", "securityContext"):
        assert own[field] == code[field]
    assert [one for one in own["env"] if one["name"] != "JOB"] == code["env"]
    shared = [one for one in platform["spec"]["volumes"] if one["name"] != "token"]  # of those that make Jobs
    assert template(objects)["spec"]["volumes"] == shared


def test_a_sensor_is_in_its_place_where_it_is_not_made():
    for values, makes in ((SCALED, True), ({**SCALED, "prescore": {"enabled": False}}, False), ({}, False)):
        objects = rendered(values)
        assert any(one["kind"] == "CronJob" for one in objects) == makes
        environment = find(objects, "ConfigMap", "-environment")["data"]
        given = settings.Settings({"PODPOWER_FLEET_SENSOR": environment.get("PODPOWER_FLEET_SENSOR", "")})
        sensors = definitions(given).get_repository_def().sensor_defs
        [sensor] = [one for one in sensors if one.name == "fleet_changes"]
        assert (sensor.default_status == dg.DefaultSensorStatus.RUNNING) == (not makes)


@pytest.mark.timeout(300)
def test_a_start_puts_what_runs_now_into_the_fleet_summary(tmp_path, pair, monkeypatch):
    need_namespaces()
    end_s = start_of_hour(time.time())
    cluster = MadeCluster(pods=5 * WORKLOADS, hours=2, start_s=end_s - 2 * HOUR_S)
    write_journal(tmp_path / "journal", cluster)
    with serving_s3() as s3, serving_postgres() as database, Runner(tmp_path / "runner") as runner:
        for name, port, url in (("s3", 9000, s3["AWS_ENDPOINT_URL"]), ("db", 5432, database)):
            runner.expose(name, port, (str(urlsplit(url).hostname), int(urlsplit(url).port or 0)))
        home = f"{new_bucket(s3)}/podpower"
        values = {"storage": {"url": home}, "cluster": {"name": "made"}, "settingsSecrets": ["cloud"]}
        first = {"PODPOWER_PARTITIONS_START": hour_key(cluster.start_s)}
        objects = rendered({**SCALED, **values, "settings": first})
        runner.put(secret("cloud", {**s3, "AWS_ENDPOINT_URL": f"http://{runner.address('s3')}:9000"}))
        runner.put(secret("history", {"url": f"postgresql://dagster@db:5432{urlsplit(database).path}"}))
        runner.apply([one for one in objects if one["kind"] == "ConfigMap"])
        own = {settings.HOME: home, settings.RECORDING: f"{home}/journal", settings.POSTGRES_URL: database}
        for name, value in {**s3, **own, **first}.items():
            monkeypatch.setenv(name, value)
        forget_servers()
        uploaded(tmp_path / "journal", f"{home}/journal")
        store = ModelStore(f"{home}/models")
        version = store.add(*pair)
        store.promote(version)
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:9")
        folder = dagster_home(tmp_path / "dagster", objects, kubeconfig)
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            job = definitions(settings.read()).resolve_implicit_global_asset_job_def()
            hours = range_tags(hour_key(cluster.start_s), hour_key(end_s - HOUR_S))
            specs = [dg.AssetKey("workload_specs")]
            assert job.execute_in_process(
                instance=instance, asset_selection=specs, tags=hours, run_config=QUIET
            ).success
            labelled = template(objects)
            labelled["metadata"]["labels"]["batch.kubernetes.io/job-name"] = JOB
            pod = runner.run(labelled, name=f"{JOB}-x7k2p")
            assert runner.until_ended(pod, seconds=200) == "Succeeded", pod.describe()
            [run] = instance.get_runs(dg.RunsFilter(tags={KUBERNETES_JOB_TAG: JOB}))
            assert run.status == dg.DagsterRunStatus.SUCCESS
            made = instance.get_materialized_partitions(dg.AssetKey("fleet_summary"))
        summary = read_summary(store.root)
    assert made == {hour_key(cluster.start_s), hour_key(end_s - HOUR_S)}
    assert "summed up 2 hours" in pod.log("prescore")
    [found] = summary.clusters
    assert found.cluster == "made"
    assert found.predicted_w > 0
    assert summary.model.version == version
    assert {"app-0", "cron-0"} <= {one.workload_name for one in summary.workloads}
