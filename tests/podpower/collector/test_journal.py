"""A live cluster kept as a journal: what was there, what changed, and what a crash or a pause leaves."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from podpower.collector.journal import Journal
from podpower.collector.present import present_objects
from podpower.errors import InvalidInput, Unavailable
from podpower.hours import HOUR_S
from podpower.kubernetes.kinds import OBSERVED, parse_kinds
from podpower.simulation import simulate
from podpower.sources.journal.reader import JournalReader
from podpower.sources.kubernetes.access import ClusterConfig, open_access
from podpower.sources.kubernetes.list_watch import Selection
from podpower.sources.protocols import ObjectEvent
from podpower.specs.observing import Observation, observe
from tests.clusters.collecting import Collector
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, owned, running_pod, write_kubeconfig
from tests.http_servers import Request, Response, serving


@pytest.fixture
def cluster(half_past: Callable[[], float]) -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


@pytest.fixture
def collector(cluster: FakeCluster, tmp_path: Path) -> Collector:
    return Collector(cluster, tmp_path / "journal", tmp_path)


def changes(collector: Collector, cursor: str | None = None) -> tuple[list[ObjectEvent], str]:
    reader = JournalReader(collector.url)
    found = reader.changes(cursor)
    assert reader.damaged == []
    return found


def names(events: list[ObjectEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.object["metadata"]["name"]) for event in events]


def rollout(cluster: FakeCluster, *, image: str, hashed: str) -> str:
    """A Deployment at this image, with the ReplicaSet and pod that come of it; returns the pod's name."""
    web = deployment("web", image=image)
    exists = any(r.kind == "Deployment" and "shop/web" in r.entries for r in cluster._resources)
    stored = cluster.update(web) if exists else cluster.add(web)
    template = web["spec"]["template"]
    labels = {"app": "web", "pod-template-hash": hashed}
    replicas = cluster.add(owned("ReplicaSet", f"web-{hashed}", stored, spec={"template": template}))
    pod = cluster.add(running_pod(f"web-{hashed}-x2x4b", replicas, template, labels=labels))
    return str(pod["metadata"]["name"])


def observations(
    collector: Collector, *, start_s: float | None = None, end_s: float | None = None
) -> list[Observation]:
    now_s = time.time()
    window = {"start_s": start_s or now_s - 60, "end_s": end_s or now_s + 60}
    found, rejected = observe(JournalReader(collector.url).events(**window), cluster="c", **window)
    assert rejected == []
    return found


def images(found: list[Observation]) -> dict[str | None, list[str]]:
    return {o.request.containers[0].image: [pod.pod for pod in o.pods] for o in found}


def test_pods_belong_to_the_template_that_made_them_through_a_rollout(
    cluster: FakeCluster, collector: Collector
) -> None:
    first = rollout(cluster, image="nginx:1", hashed="aaaaa")
    assert collector.collect() == 3
    second = rollout(cluster, image="nginx:2", hashed="bbbbb")
    cluster.delete("Pod", "shop", first)
    assert collector.collect() == 4
    found = observations(collector)
    assert images(found) == {"nginx:1": [first], "nginx:2": [second]}
    assert {o.request.workload_name for o in found} == {"web"}
    assert [o.observed_to_s is None for o in found] == [False, True]


def test_a_short_lived_pod_between_two_polls_is_not_missed(cluster: FakeCluster, collector: Collector) -> None:
    collector.collect()
    name = rollout(cluster, image="nginx:1", hashed="aaaaa")
    cluster.delete("Pod", "shop", name)
    collector.collect()
    assert images(observations(collector)) == {"nginx:1": [name]}


def test_what_changes_nothing_that_is_read_is_not_written(cluster: FakeCluster, collector: Collector) -> None:
    cluster.add(deployment("web"))
    collector.collect()
    cluster.update({**deployment("web"), "status": {"readyReplicas": 1}})
    assert collector.collect() == 0
    cluster.forget()
    assert collector.collect() == 0


def test_the_sensor_sees_each_change_once(cluster: FakeCluster, collector: Collector) -> None:
    cluster.add(deployment("web"))
    collector.collect()
    first, cursor = changes(collector)
    assert [(c.type, c.object["metadata"]["name"]) for c in first] == [("ADDED", "web")]
    assert changes(collector, cursor)[0] == []
    cluster.update(deployment("web", image="nginx:9"))
    collector.collect()
    second, cursor = changes(collector, cursor)
    assert [c.type for c in second] == ["MODIFIED"]
    assert abs(second[0].ts - time.time()) < 30


@pytest.mark.parametrize("how", ["status", "event"])
def test_after_a_pause_longer_than_the_history_the_difference_is_emitted(
    cluster: FakeCluster, collector: Collector, how: str
) -> None:
    for name in ("stays", "changes", "goes"):
        cluster.add(deployment(name))
    collector.collect()
    _, cursor = changes(collector)
    cluster.update(deployment("changes", image="nginx:9"))
    cluster.delete("Deployment", "shop", "goes")
    cluster.add(deployment("comes"))
    cluster.forget(how=how)
    collector.collect()
    assert set(names(changes(collector, cursor)[0])) == {
        ("MODIFIED", "changes"),
        ("DELETED", "goes"),
        ("ADDED", "comes"),
    }


def test_an_hour_begins_with_what_is_alive(
    cluster: FakeCluster, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rollout(cluster, image="nginx:1", hashed="aaaaa")
    collector.collect()
    real = time.time
    for hours in (1, 5):  # podpower was down for some hours in between
        monkeypatch.setattr(time, "time", lambda h=hours: real() + h * HOUR_S)
        collector.collect()
    later_s = time.time()
    window = {"start_s": later_s // HOUR_S * HOUR_S, "end_s": later_s}
    assert images(observations(collector, **window)) == {"nginx:1": [first]}
    between_s = later_s - 2 * HOUR_S
    assert images(observations(collector, start_s=between_s, end_s=between_s + 60)) == {"nginx:1": [first]}
    assert len(JournalReader(collector.url).files.hours()) == 3


def test_hours_that_are_old_are_removed(
    cluster: FakeCluster, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.options = {"kept_days": 0.25}
    rollout(cluster, image="nginx:1", hashed="aaaaa")
    collector.collect()
    _, cursor = changes(collector)
    began_s = JournalReader(collector.url).start_s
    real = time.time
    for hours in (2, 9, 10):
        monkeypatch.setattr(time, "time", lambda h=hours: real() + h * HOUR_S)
        collector.collect()
    assert len(JournalReader(collector.url).files.hours()) == 2
    assert JournalReader(collector.url).start_s > began_s + HOUR_S
    assert images(observations(collector)).keys() == {"nginx:1"}
    assert changes(collector, cursor)[0] == []


def test_before_it_was_watched_a_cluster_is_known_by_what_still_lives(
    cluster: FakeCluster, collector: Collector
) -> None:
    two_hours_ago_s = time.time() - 2 * HOUR_S
    old = deployment("old")
    made = {"creationTimestamp": written(two_hours_ago_s)}
    old["metadata"] |= made
    stored = cluster.add(old)
    replicas = owned("ReplicaSet", "old-1", stored, spec={"template": old["spec"]["template"]})
    replicas["metadata"] |= made
    replicas = cluster.add(replicas)
    pod = running_pod("old-1-x", replicas, old["spec"]["template"])
    pod["metadata"] |= made
    cluster.add(pod)
    cluster.add(deployment("new"))
    collector.collect()
    hour_ago_s = time.time() - HOUR_S
    found = observations(collector, start_s=hour_ago_s - 600, end_s=hour_ago_s)
    assert [(o.request.workload_name, [p.pod for p in o.pods]) for o in found] == [("old", ["old-1-x"])]
    assert found[0].observed_from_s == pytest.approx(two_hours_ago_s, abs=1)


def test_a_pod_that_finished_before_the_journal_began_is_observed_when_it_ran(
    cluster: FakeCluster, collector: Collector
) -> None:
    began_s, ended_s = (float(int(time.time() - hours * HOUR_S)) for hours in (3.0, 2.5))
    once = deployment("once") | {"apiVersion": "batch/v1", "kind": "Job"}
    once["metadata"]["creationTimestamp"] = written(began_s)
    job = cluster.add(once)
    pod = running_pod("once-x", job, once["spec"]["template"])
    pod["metadata"]["creationTimestamp"] = written(began_s)
    ended = {"state": {"terminated": {"finishedAt": written(ended_s)}}}
    pod["status"] = {"phase": "Succeeded", "containerStatuses": [ended]}
    cluster.add(pod)
    [event] = [e for e in present_objects(collector.access) if e.object["kind"] == "Pod"]
    assert event.ts == ended_s
    collector.collect()
    found = observations(collector, start_s=began_s - 60, end_s=ended_s + 60)
    assert [(o.request.workload_kind, o.request.workload_name) for o in found] == [("Job", "once")]
    assert [(p.from_s, p.to_s, p.outcome) for p in found[0].pods] == [(began_s, ended_s, "succeeded")]


def test_managed_fields_show_when_a_template_last_changed(cluster: FakeCluster, collector: Collector) -> None:
    now_s = time.time()
    web = deployment("web")
    web["metadata"] |= {
        "creationTimestamp": written(now_s - 9000),
        "managedFields": [
            {"manager": "kubectl", "operation": "Update", "time": written(now_s - 3000)},
            {"manager": "controller", "operation": "Update", "time": written(now_s - 10), "subresource": "status"},
        ],
    }
    cluster.add(web)
    [event] = present_objects(collector.access)
    assert event.ts == pytest.approx(now_s - 3000, abs=1)


def written(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_credentials_are_not_kept(cluster: FakeCluster, collector: Collector) -> None:
    cluster.add(deployment("web", DB_PASSWORD="hunter2"))
    collector.collect()
    kept = b"".join(path.read_bytes() for path in Path(collector.url).rglob("*") if path.is_file())
    assert b"DB_PASSWORD" in kept
    assert b"hunter2" not in kept


def test_kinds_of_others_are_observed_by_their_path(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.register("example.io", "v1", "workers", "Worker")
    worker = deployment("own")
    cluster.add({**worker, "apiVersion": "example.io/v1", "kind": "Worker"})
    selection = Selection(kinds=(*OBSERVED, *parse_kinds(["example.io/v1/workers"])))
    collector = Collector(cluster, tmp_path / "journal", tmp_path, selection=selection)
    collector.collect()
    assert collector.collect() == 0
    assert [event.object["kind"] for event in changes(collector)[0]] == ["Worker"]


def test_only_one_process_writes(cluster: FakeCluster, collector: Collector) -> None:
    opened = Journal.opened(collector.url, cluster="test-cluster")
    with opened, pytest.raises(Unavailable, match="another process"):
        collector.collect()


def test_a_folder_of_something_else_is_left_alone(cluster: FakeCluster, collector: Collector, tmp_path: Path) -> None:
    simulate(Path(collector.url), seed=1, start_s=time.time() - 600, hours=0.1, workloads=2)
    with pytest.raises(InvalidInput, match="is a simulation"):
        collector.collect()


def test_a_journal_of_another_cluster_is_left_alone(cluster: FakeCluster, collector: Collector) -> None:
    collector.collect()
    before = changes(collector)
    with FakeCluster() as south:
        south.add(deployment("web"))
        collector.access = replace(collector.access, server=south.url, cluster="south")
        with pytest.raises(InvalidInput, match="records the cluster test-cluster, not south"):
            collector.collect()
    assert changes(collector) == before


def test_a_cluster_goes_on_under_another_name(cluster: FakeCluster, collector: Collector) -> None:
    """The collector of a renamed first cluster refused its journal, and the cluster was never observed again."""
    cluster.add(deployment("web"))
    collector.collect()
    _, cursor = changes(collector)
    collector.access = replace(collector.access, cluster="renamed")
    cluster.add(deployment("db"))
    collector.collect()
    assert names(changes(collector, cursor)[0]) == [("ADDED", "db")]


def test_a_cluster_that_does_not_answer_leaves_the_journal_as_it_was(
    cluster: FakeCluster, collector: Collector
) -> None:
    cluster.add(deployment("web"))
    collector.collect()
    before = changes(collector)
    cluster.forbid("pods")
    with pytest.raises(InvalidInput, match='resources: \\["pods"\\]'):
        collector.collect()
    assert changes(collector, before[1])[0] == []


def test_odd_objects_are_rejected_one_by_one(cluster: FakeCluster, collector: Collector) -> None:
    cluster.add(deployment("good"))
    broken = deployment("broken")
    broken["spec"]["template"]["spec"]["containers"] = "none"
    cluster.add(broken)
    cyclic = cluster.add(deployment("cyclic"))
    reference = {"kind": "Deployment", "apiVersion": "apps/v1", "name": "cyclic", "uid": cyclic["metadata"]["uid"]}
    cyclic["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
    cluster.update(cyclic)
    cluster.add(running_pod("pod", cyclic, deployment("cyclic")["spec"]["template"]))
    collector.collect()
    now_s = time.time()
    found, rejected = observe(
        JournalReader(collector.url).events(start_s=now_s - 60, end_s=now_s + 60), start_s=now_s - 60, end_s=now_s + 60
    )
    assert {o.request.workload_name for o in found} == {"good", "cyclic"}
    assert [(r.source, "containers" in r.detail) for r in rejected] == [("Deployment shop/broken", True)]


@pytest.mark.parametrize("metadata", [None, {}, [], {"uid": "u"}, {"name": "no-uid", "namespace": "shop"}])
def test_an_object_without_a_name_is_reported_and_one_without_uid_is_known_by_its_name(
    tmp_path: Path, metadata: object
) -> None:
    good = {**deployment("good"), "metadata": {"name": "good", "uid": "g", "resourceVersion": "1"}}
    odd = {**deployment("odd"), "metadata": metadata}
    empty = {"kind": "List", "metadata": {"resourceVersion": "5"}, "items": []}
    whole = {
        "kind": "DeploymentList",
        "apiVersion": "apps/v1",
        "metadata": {"resourceVersion": "5"},
        "items": [odd, good],
    }

    def respond(request: Request) -> Response:
        return Response(json.dumps(whole if "/deployments" in request.target else empty).encode())

    notes: list[str] = []
    with serving(respond) as address:
        config = write_kubeconfig(tmp_path / "config", address)
        events = present_objects(open_access(ClusterConfig(kubeconfig=str(config))), note=notes.append)
    found = {event.object["metadata"]["name"] for event in events}
    assert found == ({"good", "no-uid"} if isinstance(metadata, dict) and "name" in metadata else {"good"})
