"""What podpower calls of the API server is what its Roles grant, and nothing else: components run under these Roles.

Collectors and certificates run in pods. Launcher and executor run in this process; in pods, `test_runs_in_pods.py`.
"""

import copy
from urllib.parse import urlsplit

import dagster as dg
import pytest
import yaml
from dagster._core.execution.retries import RetryMode
from dagster._core.launcher.base import WorkerStatus
from dagster_k8s.job import get_job_name_from_run_id

from podpower_assets.pods import PodRunLauncher
from tests.clusters.jobs import add_pod, make_job
from tests.clusters.objects import deployment, write_kubeconfig
from tests.helm.charts import MATRIX, NAMESPACE, SCALED, find, pods, rendered
from tests.helm.rbac import Grants
from tests.runner import Runner, need_namespaces
from tests.runner.accounts import mounts_token
from tests.runner.scaled import fake_api, secret
from tests.s3 import new_bucket, serving_s3

KINDS = {"cluster": {"kinds": ["example.com/v1/widgets"]}}
CERTIFICATES = ("first-certificate", "certificates")


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_accounts_with_a_token_have_a_role_and_the_others_none(values):
    objects = rendered(values)
    accounts = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ServiceAccount"}
    have_token = {name for name in accounts if name.endswith("-run")}  # its pods are made by Dagster
    if not values.get("runs", {}).get("stepsInPods", True):
        have_token = set()  # Dagster's launcher wants a token in them, which is good for nothing
    for _, template in pods(objects):
        spec = template["spec"]
        projected = [s for v in spec.get("volumes") or [] for s in v.get("projected", {}).get("sources", [])]
        if mounts_token(spec, lambda _kind, name: accounts.get(name)) or any(
            "serviceAccountToken" in s for s in projected
        ):
            have_token.add(spec["serviceAccountName"])
    grants = Grants(objects)
    assert have_token == set(grants.of)
    assert not grants.unbound
    verbs = {(grant.verb, grant.resource) for of in grants.of.values() for grant in of}
    assert not [verb for verb, resource in verbs if "*" in (verb, resource)]


def under_its_roles(api, objects):
    grants = Grants(objects)
    api.authorize = grants.refusal
    return grants


def only(template, wanted):
    """The template with these containers alone."""
    template = copy.deepcopy(template)
    for kind in ("initContainers", "containers"):
        template["spec"][kind] = [one for one in template["spec"].get(kind, []) if wanted(one)]
    return template


@pytest.fixture
def api():
    need_namespaces()
    with fake_api() as server:
        server.register("example.com", "v1", "widgets", "Widget")
        server.add(deployment("web"))
        yield server


@pytest.fixture
def runner(api, tmp_path):
    with Runner(tmp_path) as runner:
        runner.serve_api(("127.0.0.1", int(api.url.rpartition(":")[2])))
        yield runner


def observed(api, runner, objects, template):
    """Run a collector until it watches everything."""
    grants = under_its_roles(api, objects)
    runner.apply([o for o in objects if o["kind"] in {"ConfigMap", "Secret"}])
    template = only(template, lambda one: one["name"] == "collector")
    pod = runner.run(template, name="collector")
    expected = {grant.resource for grant in grants.of[template["spec"]["serviceAccountName"]] if grant.verb == "watch"}
    runner.until("watches", lambda: api.watches() >= len(expected) or grants.refused or None, pods=[pod])
    runner.delete(pod)
    assert pod.container("collector").exit_codes == [0]
    return grants


def test_the_collector_of_the_default_profile_needs_what_it_is_granted(api, runner):
    objects = rendered(KINDS)
    template = find(objects, "Deployment", "-platform")["spec"]["template"]
    grants = observed(api, runner, objects, template)
    assert grants.refused == []
    assert grants.unused(api.requests, "podpower-platform") == {}


def test_the_collector_of_the_scaled_profile_needs_what_it_is_granted(api, runner):
    with serving_s3() as environment:
        server = urlsplit(environment["AWS_ENDPOINT_URL"])
        runner.expose("s3", 9000, (str(server.hostname), int(server.port or 0)))
        bucket = new_bucket(environment)
        runner.put(secret("cloud", {**environment, "AWS_ENDPOINT_URL": f"http://{runner.address('s3')}:9000"}))
        objects = rendered({**SCALED, **KINDS, "storage": {"url": bucket}, "settingsSecrets": ["cloud"]})
        for lease in (o for o in objects if o["kind"] == "Lease"):
            api.add(lease)
        template = find(objects, "Deployment", "-collector")["spec"]["template"]
        grants = observed(api, runner, objects, template)
    assert grants.refused == []
    assert grants.unused(api.requests, "podpower-collector") == {}


@pytest.mark.parametrize("profile", ["default", "scaled"])
def test_the_webhooks_certificates_need_what_they_are_granted(api, runner, profile):
    objects = rendered({} if profile == "default" else SCALED)
    grants = under_its_roles(api, objects)
    for kind in ("Secret", "MutatingWebhookConfiguration"):
        for given in (o for o in objects if o["kind"] == kind):
            api.add(given)
    template = only(
        find(objects, "Deployment", "-webhook")["spec"]["template"], lambda one: one["name"] in CERTIFICATES
    )
    pod = runner.run(template, name="webhook")
    runner.until_ready([pod])

    def issued():
        [hook] = api.objects("MutatingWebhookConfiguration")[0]["webhooks"]
        return hook["clientConfig"].get("caBundle") or grants.refused or None

    runner.until("certificate", issued, pods=[pod])
    assert grants.refused == []
    assert grants.unused(api.requests, "podpower-webhook") == {}


def launcher_of(account, api, objects, folder):
    """The run launcher that the chart configures, as a service account."""
    settings = yaml.safe_load(find(objects, "ConfigMap", "-dagster")["data"]["dagster.yaml"])
    kubeconfig = write_kubeconfig(folder / account, api.url, user={"token": f"token-of-podpower-{account}"})
    config = settings["run_launcher"]["config"] | {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    return PodRunLauncher(**config)


def test_the_run_launcher_needs_what_the_platform_is_granted(tmp_path):
    objects = rendered(SCALED)
    with fake_api() as api, dg.instance_for_test() as instance:
        grants = under_its_roles(api, objects)
        launcher = launcher_of("platform", api, objects, tmp_path)
        launcher.register_instance(instance)
        run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
        job = get_job_name_from_run_id(run.run_id)
        make_job(launcher._api_client, job, NAMESPACE)
        [made] = api.objects("Job")
        api.update({**made, "status": {"active": 1, "startTime": made["metadata"]["creationTimestamp"]}})
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        assert "Debug information for job" in launcher.get_run_worker_debug_info(run)
        add_pod(api, job, NAMESPACE)
        assert "Debug information for pod" in launcher.get_run_worker_debug_info(run)
        assert launcher.terminate(run.run_id)
        assert api.objects("Job") == api.objects("Pod") == []
    assert grants.refused == []
    assert grants.unused(api.requests, "podpower-platform") == {}


def test_the_executor_of_steps_needs_what_runs_are_granted(tmp_path):
    objects = rendered(SCALED)
    with fake_api() as api:
        grants = under_its_roles(api, objects)
        executor = launcher_of("run", api, objects, tmp_path).step_executor(RetryMode.ENABLED)
        # What its handler calls to launch a step, to check its health, and to terminate it.
        client = executor._step_handler._api_client
        make_job(client, "step", NAMESPACE)
        assert client.get_job_status("step", NAMESPACE) is not None
        add_pod(api, "step", NAMESPACE)
        assert client.delete_job("step", NAMESPACE)
        assert api.objects("Job") == api.objects("Pod") == []
    assert grants.refused == []
    assert grants.unused(api.requests, "podpower-run") == {}


@dg.job
def nothing():
    pass
