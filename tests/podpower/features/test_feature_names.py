import msgspec
import pytest

from podpower.features.names import controller_kind, main_image_key, stable_name
from podpower.kubernetes.images import image_key
from podpower.specs.requests import Container


@pytest.mark.parametrize(
    ("image", "key"),
    [
        ("redis", "redis"),
        ("redis:7", "redis"),
        ("docker.io/library/redis:7.2-alpine", "redis"),
        ("registry.k8s.io/ingress-nginx/controller:v1.12.0@sha256:e6b8de", "ingress-nginx/controller"),
        ("localhost/app:dev", "app"),
        ("localhost:5000/app", "app"),
        ("10.0.0.1:32180/team/app:latest", "team/app"),
        ("Kazemi/App", "kazemi/app"),
        ("repo@sha256:0123", "repo"),
        (" nginx ", "nginx"),
        ("", None),
        (None, None),
        (":latest", None),
        ("harbor.example.org/dockerhub/library/redis:7", "redis"),
        ("registry.example.org:5000/mirror/quay.io/prometheus/prometheus:v3", "prometheus/prometheus"),
        ("012345678901.dkr.ecr.eu-west-1.amazonaws.com/docker-hub/grafana/grafana", "grafana/grafana"),
        ("ghcr.io/acme/shop/cart/api:1", "cart/api"),
        ("v1.2/app", "app"),
        ("app.v2", "app.v2"),
    ],
)
def test_image_key_is_the_repository_alone(image, key):
    assert image_key(image) == key


@pytest.mark.parametrize(
    ("kind", "name", "stable"),
    [
        ("Pod", "redis-748ffbc5f5-7f2j5", "redis"),
        ("Pod", "kepler-4q8xb", "kepler"),
        ("Pod", "prometheus-server-0", "prometheus-server"),
        ("Pod", "etcd-n1", "etcd-n1"),
        ("Pod", "nightly-29123456-x7k2p", "nightly"),
        ("ReplicaSet", "redis-748ffbc5f5", "redis"),
        ("Job", "nightly-29123456", "nightly"),
        ("Deployment", "api-v2", "api-v2"),
        ("Deployment", "redis-748ffbc5f5", "redis-748ffbc5f5"),
    ],
)
def test_stable_name_drops_generated_parts_only(kind, name, stable):
    assert stable_name(kind, name) == stable


@pytest.mark.parametrize(
    ("kind", "labels", "annotations", "controller"),
    [
        ("Deployment", {}, {}, "Deployment"),
        ("ReplicaSet", {}, {}, "Deployment"),
        ("Rollout", {}, {}, "Deployment"),
        ("CronJob", {}, {}, "Job"),
        ("Pod", {"pod-template-hash": "748ffbc5f5"}, {}, "Deployment"),
        ("Pod", {"controller-revision-hash": "x", "pod-template-generation": "1"}, {}, "DaemonSet"),
        (
            "Pod",
            {"controller-revision-hash": "db-5d", "statefulset.kubernetes.io/pod-name": "db-0"},
            {},
            "StatefulSet",
        ),
        ("Pod", {"batch.kubernetes.io/job-name": "nightly"}, {}, "Job"),
        ("Pod", {"tier": "control-plane"}, {"kubernetes.io/config.mirror": "1"}, "StaticPod"),
        ("Pod", {"app": "debug"}, {}, "Pod"),
    ],
)
def test_a_pod_reads_like_what_made_it(make_request, kind, labels, annotations, controller):
    assert controller_kind(make_request(kind=kind, labels=labels, annotations=annotations)) == controller


def test_the_first_container_names_the_group(make_request):
    assert main_image_key(make_request(image="quay.io/acme/api:3")) == "acme/api"
    assert main_image_key(make_request(image=None)) is None


@pytest.mark.parametrize(
    ("images", "key"),
    [
        (["quay.io/kiwigrid/k8s-sidecar:1.30.0", "grafana/grafana:11.5.2"], "grafana/grafana"),
        (["docker.io/istio/proxyv2:1.24", "acme/api"], "acme/api"),
        (["acme/api", "docker.io/istio/proxyv2:1.24"], "acme/api"),
        (["quay.io/brancz/kube-rbac-proxy", "quay.io/brancz/kube-rbac-proxy"], "brancz/kube-rbac-proxy"),
        ([None, "acme/api"], None),
    ],
    ids=["a chart's helper first", "a mesh first", "a mesh last", "helpers only", "no image"],
)
def test_a_pod_is_what_its_main_container_is(make_request, images, key):
    containers = [Container(name=f"c{number}", image=image) for number, image in enumerate(images)]
    assert main_image_key(msgspec.structs.replace(make_request(), containers=containers)) == key


@pytest.mark.timeout(5)
@pytest.mark.parametrize("image", [":" * 300_000, "a." * 150_000, "a:" * 150_000 + "/b", "/" * 300_000], ids=len)
def test_no_image_takes_long_to_read(image):
    image_key(image)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("name", ["-bcdfg" * 50_000, "-1" * 150_000, "-12345678" * 30_000], ids=len)
@pytest.mark.parametrize("kind", ["Pod", "ReplicaSet", "Job"])
def test_no_name_takes_long_to_read(kind, name):
    stable_name(kind, name)
