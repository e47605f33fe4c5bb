"""The fake API server behaves as the real one where list and watch are concerned."""

import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.clusters.fake import FakeCluster
from tests.waiting import until

PODS = "/api/v1/pods"
WATCH = {"watch": "1", "allowWatchBookmarks": "true"}


@pytest.fixture
def cluster():
    with FakeCluster() as running:
        yield running


@pytest.fixture
def api(cluster):
    with httpx.Client(base_url=cluster.url, timeout=5) as client:
        yield client


def pod(name: str, namespace: str = "web", phase: str = "Running", **labels: str) -> dict:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"kind": "Pod", "metadata": metadata, "status": {"phase": phase}}


def names(answer: httpx.Response) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json()["items"]]


def read(response: httpx.Response) -> Iterator[tuple[str, str]]:
    for line in response.iter_lines():
        event = json.loads(line)
        yield event["type"], event["object"]["metadata"].get("name", event["object"]["metadata"].get("resourceVersion"))


def test_pages_are_one_snapshot_while_objects_change(cluster, api):
    for i in range(5):
        cluster.add(pod(f"p{i}"))

    first = api.get(PODS, params={"limit": 2}).json()
    cluster.delete("Pod", "web", "p3")
    cluster.add(pod("p9"))
    second = api.get(PODS, params={"limit": 500, "continue": first["metadata"]["continue"]})

    assert first["kind"] == "PodList"
    assert first["metadata"]["remainingItemCount"] == 3
    assert not {"kind", "apiVersion"} & first["items"][0].keys()
    assert names(second) == ["p2", "p3", "p4"]
    assert second.json()["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}
    assert names(api.get(PODS)) == ["p0", "p1", "p2", "p4", "p9"]


def test_a_page_is_never_larger_than_the_server_allows_and_large_ones_are_compressed(cluster, api):
    cluster.page_limit = 100
    cluster.put_many([pod(f"p{i:04}", note="x" * 60) | {"spec": {"filler": "y" * 2000}} for i in range(250)])

    page = api.get("/api/v1/namespaces/web/pods", params={"limit": 1000})

    assert len(names(page)) == 100
    assert page.headers["content-encoding"] == "gzip"
    assert page.json()["metadata"]["remainingItemCount"] == 150
    assert names(api.get("/api/v1/namespaces/other/pods")) == []


def test_a_watch_replays_what_was_missed_and_then_streams(cluster, api):
    old = cluster.add(pod("old"))["metadata"]["resourceVersion"]
    cluster.add(pod("missed"))

    with api.stream("GET", PODS, params=WATCH | {"resourceVersion": old}) as response:
        events = read(response)
        assert next(events) == ("ADDED", "missed")
        cluster.wait_for_watches(1)
        changed = cluster.update(pod("old", phase="Failed"))
        gone = cluster.delete("Pod", "web", "missed")
        cluster.bookmark()
        assert [next(events) for _ in range(3)] == [
            ("MODIFIED", "old"),
            ("DELETED", "missed"),
            ("BOOKMARK", gone["metadata"]["resourceVersion"]),
        ]

    assert int(gone["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"]) > int(old)
    until(lambda: cluster.watches() == 0)


def test_a_watch_without_a_version_starts_with_everything_and_ends_in_time_with_a_bookmark(cluster, api):
    cluster.add(pod("a"))
    version = cluster.add(pod("b", namespace="db"))["metadata"]["resourceVersion"]

    answer = api.get(PODS, params=WATCH | {"timeoutSeconds": "1"})

    assert list(read(answer)) == [("ADDED", "b"), ("ADDED", "a"), ("BOOKMARK", version)]  # by namespace
    assert json.loads(answer.text.splitlines()[0])["object"]["kind"] == "Pod"


@pytest.mark.parametrize("how", ["status", "event"])
def test_forgotten_history_answers_410(cluster, api, how):
    cluster.put_many(pod(f"p{i}") for i in range(3))
    page = api.get(PODS, params={"limit": 1}).json()["metadata"]

    cluster.forget("Pod", how=how)
    watch = api.get(PODS, params=WATCH | {"resourceVersion": page["resourceVersion"]})
    following = api.get(PODS, params={"limit": 1, "continue": page["continue"]})

    if how == "status":
        assert (watch.status_code, watch.json()["reason"]) == (410, "Expired")
    else:
        (event,) = [json.loads(line) for line in watch.iter_lines()]
        assert watch.status_code == 200
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert (following.status_code, following.json()["reason"]) == (410, "Expired")
    fresh = api.get(PODS).json()["metadata"]["resourceVersion"]
    assert list(read(api.get(PODS, params={"watch": "1", "resourceVersion": fresh, "timeoutSeconds": "1"}))) == []


@pytest.mark.parametrize("mid_line", [False, True])
def test_cut_drops_the_connections_of_one_kind(cluster, api, mid_line):
    with api.stream("GET", PODS, params=WATCH) as pods, api.stream("GET", "/apis/apps/v1/deployments", params=WATCH):
        cluster.wait_for_watches(2)
        cluster.cut("Pod", mid_line=mid_line)
        assert (cluster.watches("Pod"), cluster.watches("Deployment"), cluster.watches()) == (0, 1, 1)
        received = []
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(pods.iter_raw())
    assert b"".join(received).startswith(b'{"type":"MODIFIED"') == mid_line


def test_a_token_is_required_and_requests_are_recorded(cluster, api):
    cluster.token = "secret"

    refused = api.get(PODS, params={"limit": 7})
    allowed = api.get(PODS, headers={"Authorization": "Bearer secret"})

    assert (refused.status_code, refused.json()["kind"], refused.json()["reason"]) == (401, "Status", "Unauthorized")
    assert allowed.status_code == 200
    first, second = cluster.requests
    assert (first.method, first.path, first.params) == ("GET", PODS, {"limit": "7"})
    assert second.headers["authorization"] == "Bearer secret"
    assert first.at <= second.at <= time.monotonic()


def test_forbidden_resources_answer_403_and_the_access_review_denies_them(cluster, api):
    def allowed(verb):
        asked = {"resource": "deployments", "group": "apps", "verb": verb}
        review = {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return api.post(path, json=review).json()["status"]["allowed"]

    cluster.forbid("deployments", "list")
    answer = api.get("/apis/apps/v1/deployments")

    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'deployments.apps is forbidden: User "x" cannot list resource "deployments" in API group "apps" '
        "at the cluster scope"
    )
    assert (allowed("list"), allowed("watch")) == (False, True)


def test_failures_on_order_skew_and_unknown_things(cluster, api):
    cluster.fail_next(429, count=2, headers={"Retry-After": "3"}, path="pods")
    cluster.clock_skew_s = 3600

    assert api.get("/readyz").text == "ok"
    failed = [api.get(PODS) for _ in range(3)]

    assert [answer.status_code for answer in failed] == [429, 429, 200]
    assert (failed[0].headers["retry-after"], failed[0].json()["reason"]) == ("3", "TooManyRequests")
    assert 3590 < parsedate_to_datetime(failed[2].headers["date"]).timestamp() - time.time() < 3610
    for path in ("/apis/acme.io/v1/widgets", "/api/v1/widgets", "/api/v1/namespaces/web/pods/none"):
        assert (api.get(path).status_code, api.get(path).json()["kind"]) == (404, "Status")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"labelSelector": "app=shop"}, ["a", "b"]),
        ({"labelSelector": "app in (shop, bank),tier!=back"}, ["b", "c"]),
        ({"labelSelector": "app notin (shop),!tier"}, ["c", "d"]),
        ({"labelSelector": "tier"}, ["a", "b"]),
        ({"fieldSelector": "metadata.namespace!=kube-system"}, ["a", "b", "c"]),
        ({"fieldSelector": "metadata.namespace=kube-system,metadata.name=d"}, ["d"]),
        ({"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}, ["a", "b", "d"]),
    ],
)
def test_selectors(cluster, api, selector, expected):
    cluster.add(pod("a", app="shop", tier="back"))
    cluster.add(pod("b", app="shop", tier="front"))
    cluster.add(pod("c", phase="Succeeded", app="bank"))
    cluster.add(pod("d", namespace="kube-system"))

    assert sorted(names(api.get(PODS, params=selector))) == expected


def test_a_watch_with_a_selector_sees_objects_enter_and_leave_it(cluster, api):
    version = cluster.add(pod("a", app="shop"))["metadata"]["resourceVersion"]
    cluster.update(pod("a", app="bank"))
    cluster.update(pod("a", app="shop"))
    cluster.update(pod("a", phase="Failed", app="shop"))

    watch = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "1", "labelSelector": "app=shop"}

    assert [kind for kind, _ in read(api.get(PODS, params=watch))] == ["DELETED", "ADDED", "MODIFIED"]


def test_an_update_that_changes_nothing_is_no_event(cluster, api):
    before = cluster.add(pod("a"))
    assert cluster.update(pod("a")) == before
    watch = WATCH | {"resourceVersion": before["metadata"]["resourceVersion"], "timeoutSeconds": "1"}
    assert [kind for kind, _ in read(api.get(PODS, params=watch))] == ["BOOKMARK"]


def test_a_graceful_deletion_marks_the_object_first(cluster, api):
    version = cluster.add(pod("a"))["metadata"]["resourceVersion"]
    cluster.delete("Pod", "web", "a", gracefully=True)
    watch = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "1"}
    events = [json.loads(line) for line in api.get(PODS, params=watch).iter_lines()]
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED"]
    assert all("deletionTimestamp" in event["object"]["metadata"] for event in events)
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions[0] < versions[1]


def test_custom_kinds_are_discovered_and_served(cluster, api):
    cluster.register("argoproj.io", "v1alpha1", "rollouts", "Rollout")
    added = cluster.add({"kind": "Rollout", "metadata": {"name": "r"}})

    served = api.get("/apis/argoproj.io/v1alpha1").json()["resources"]
    listed = api.get("/apis/argoproj.io/v1alpha1/rollouts").json()

    assert added["apiVersion"] == "argoproj.io/v1alpha1"
    assert [(r["name"], r["kind"], r["namespaced"]) for r in served] == [("rollouts", "Rollout", True)]
    assert {group["name"] for group in api.get("/apis").json()["groups"]} == {"apps", "batch", "argoproj.io"}
    assert listed["items"] == [added]
    assert api.get("/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/r").json() == added
