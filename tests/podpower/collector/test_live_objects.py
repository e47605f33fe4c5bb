"""A live cluster kept as a recording: what was there, what changed, and what a crash or a pause leaves."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from podpower.collector import live as module
from podpower.collector import watch as watching
from podpower.collector.journal import STATE, Journal
from podpower.collector.live import LiveObjects, present_objects
from podpower.errors import InvalidInput, Unavailable
from podpower.hours import HOUR_S
from podpower.kubernetes.kinds import OBSERVED, parse_kinds
from podpower.simulation import simulate
from podpower.sources.kubernetes.access import ClusterConfig
from podpower.sources.kubernetes.list_watch import Selection
from podpower.sources.recording import Recording, read_meta
from podpower.sources.writing import RecordingWriter
from podpower.specs.observing import Observation, observe
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, owned, running_pod, write_kubeconfig


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 1.0)
    monkeypatch.setattr(watching, "_OWNERS_LONGER_S", 0.5)


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


@pytest.fixture
def live(cluster: FakeCluster, tmp_path: Path) -> LiveObjects:
    return opened(cluster, tmp_path)


def opened(cluster: FakeCluster, folder: Path, **more: object) -> LiveObjects:
    config = write_kubeconfig(folder / "config", cluster.url)
    return LiveObjects(folder / "journal", ClusterConfig(kubeconfig=str(config)), **more)  # type: ignore[arg-type]


def poll(live: LiveObjects) -> int:
    return live.poll(seconds=1.0)


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


def observations(live: LiveObjects, *, start_s: float | None = None, end_s: float | None = None) -> list[Observation]:
    now_s = time.time()
    window = {"start_s": start_s or now_s - 60, "end_s": end_s or now_s + 60}
    found, rejected = observe(live.events(**window), cluster="c", **window)
    assert rejected == []
    return found


def images(found: list[Observation]) -> dict[str | None, list[str]]:
    return {o.request.containers[0].image: [pod.pod for pod in o.pods] for o in found}


def test_pods_belong_to_the_template_that_made_them_through_a_rollout(cluster: FakeCluster, live: LiveObjects) -> None:
    first = rollout(cluster, image="nginx:1", hashed="aaaaa")
    assert poll(live) == 3
    second = rollout(cluster, image="nginx:2", hashed="bbbbb")
    cluster.delete("Pod", "shop", first)
    assert poll(live) == 4
    found = observations(live)
    assert images(found) == {"nginx:1": [first], "nginx:2": [second]}
    assert {o.request.workload_name for o in found} == {"web"}
    assert [o.observed_to_s is None for o in found] == [False, True]


def test_a_short_lived_pod_between_two_polls_is_not_missed(cluster: FakeCluster, live: LiveObjects) -> None:
    poll(live)
    name = rollout(cluster, image="nginx:1", hashed="aaaaa")
    cluster.delete("Pod", "shop", name)
    poll(live)
    assert images(observations(live)) == {"nginx:1": [name]}


def test_what_changes_nothing_that_is_read_is_not_written(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web"))
    poll(live)
    cluster.update({**deployment("web"), "status": {"readyReplicas": 1}})
    assert poll(live) == 0
    cluster.forget()
    assert poll(live) == 0


def test_the_sensor_sees_each_change_once(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web"))
    first, cursor = live.changes(None)
    assert [(c.type, c.object["metadata"]["name"]) for c in first] == [("ADDED", "web")]
    assert live.changes(cursor)[0] == []
    cluster.update(deployment("web", image="nginx:9"))
    second, cursor = live.changes(cursor)
    assert [c.type for c in second] == ["MODIFIED"]
    assert abs(second[0].ts - time.time()) < 30


@pytest.mark.parametrize("how", ["status", "event"])
def test_after_a_pause_longer_than_the_history_the_difference_is_emitted(
    cluster: FakeCluster, live: LiveObjects, how: str
) -> None:
    for name in ("stays", "changes", "goes"):
        cluster.add(deployment(name))
    poll(live)
    _, cursor = live.changes(None)
    cluster.update(deployment("changes", image="nginx:9"))
    cluster.delete("Deployment", "shop", "goes")
    cluster.add(deployment("comes"))
    cluster.forget(how=how)
    told = {(c.type, c.object["metadata"]["name"]) for c in live.changes(cursor)[0]}
    assert told == {("MODIFIED", "changes"), ("DELETED", "goes"), ("ADDED", "comes")}


def test_a_crash_before_the_versions_were_written_repeats_nothing(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web"))
    poll(live)
    before = (live.root / STATE).read_bytes()
    cluster.update(deployment("web", image="a:1"))
    cluster.update(deployment("web", image="a:2"))
    _, cursor = live.changes(None)
    (live.root / STATE).write_bytes(before)
    assert live.changes(cursor)[0] == []


def test_a_half_written_line_is_cut_off_and_its_event_written_again(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web"))
    poll(live)
    before = (live.root / STATE).read_bytes()
    cluster.update(deployment("web", image="a:1"))
    poll(live)
    [path] = (live.root / "objects").glob("*.ndjson")
    path.write_bytes(path.read_bytes()[:-20])
    (live.root / STATE).write_bytes(before)
    assert poll(live) == 1
    assert images(observations(live)).keys() == {"nginx:1.27", "a:1"}


def test_damaged_versions_only_mean_another_list(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web"))
    poll(live)
    (live.root / STATE).write_bytes(b"{")
    assert poll(live) == 0


def test_an_hour_begins_with_what_is_alive(
    cluster: FakeCluster, live: LiveObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rollout(cluster, image="nginx:1", hashed="aaaaa")
    poll(live)
    real = time.time
    for hours in (1, 5):  # podpower was down for some hours in between
        monkeypatch.setattr(time, "time", lambda h=hours: real() + h * HOUR_S)
        poll(live)
    later_s = time.time()
    window = {"start_s": later_s // HOUR_S * HOUR_S, "end_s": later_s}
    assert images(observations(live, **window)) == {"nginx:1": [first]}
    between_s = later_s - 2 * HOUR_S
    assert images(observations(live, start_s=between_s, end_s=between_s + 60)) == {"nginx:1": [first]}
    assert len(list((live.root / "snapshots").glob("*.ndjson"))) == 3


def test_hours_that_are_old_are_removed(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = opened(cluster, tmp_path, kept_days=0.25)
    rollout(cluster, image="nginx:1", hashed="aaaaa")
    poll(live)
    began_s = Recording(live.root).start_s
    real = time.time
    for hours in (2, 9):
        monkeypatch.setattr(time, "time", lambda h=hours: real() + h * HOUR_S)
        poll(live)
    assert len(list((live.root / "snapshots").glob("*.ndjson"))) == 1
    assert Recording(live.root).start_s > began_s + HOUR_S
    assert images(observations(live)).keys() == {"nginx:1"}


def test_before_it_was_watched_a_cluster_is_known_by_what_still_lives(cluster: FakeCluster, live: LiveObjects) -> None:
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
    poll(live)
    hour_ago_s = time.time() - HOUR_S
    found = observations(live, start_s=hour_ago_s - 600, end_s=hour_ago_s)
    assert [(o.request.workload_name, [p.pod for p in o.pods]) for o in found] == [("old", ["old-1-x"])]
    assert found[0].observed_from_s == pytest.approx(two_hours_ago_s, abs=1)


def test_a_pod_that_finished_before_the_journal_began_is_observed_when_it_ran(
    cluster: FakeCluster, live: LiveObjects
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
    [event] = [e for e in present_objects(live.access) if e.object["kind"] == "Pod"]
    assert event.ts == ended_s
    poll(live)
    found = observations(live, start_s=began_s - 60, end_s=ended_s + 60)
    assert [(o.request.workload_kind, o.request.workload_name) for o in found] == [("Job", "once")]
    assert [(p.from_s, p.to_s, p.outcome) for p in found[0].pods] == [(began_s, ended_s, "succeeded")]


def test_managed_fields_show_when_a_template_last_changed(cluster: FakeCluster, live: LiveObjects) -> None:
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
    [event] = present_objects(live.access)
    assert event.ts == pytest.approx(now_s - 3000, abs=1)


def written(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_credentials_are_not_kept(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web", DB_PASSWORD="hunter2"))
    poll(live)
    kept = b"".join(path.read_bytes() for path in live.root.rglob("*") if path.is_file())
    assert b"DB_PASSWORD" in kept
    assert b"hunter2" not in kept


def test_kinds_of_others_are_observed_by_their_path(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.register("example.io", "v1", "workers", "Worker")
    worker = deployment("own")
    cluster.add({**worker, "apiVersion": "example.io/v1", "kind": "Worker"})
    live = opened(cluster, tmp_path, selection=Selection(kinds=(*OBSERVED, *parse_kinds(["example.io/v1/workers"]))))
    poll(live)
    assert poll(live) == 0
    assert json.loads(next((live.root / "snapshots").glob("*")).read_text())["object"]["kind"] == "Worker"


def test_only_one_process_writes(cluster: FakeCluster, live: LiveObjects) -> None:
    opened = Journal.opened(live.root, cluster="test-cluster", kept_days=1.0)
    with opened, pytest.raises(Unavailable, match="another process"):
        poll(live)


def test_a_journal_that_another_process_keeps_up_to_date_is_read(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web"))
    poll(live)
    with Journal.opened(live.root, cluster="test-cluster", kept_days=1.0):
        assert [change.object["metadata"]["name"] for change in live.changes(None)[0]] == ["web"]
        meta = read_meta(live.root)
        RecordingWriter(live.root).meta(msgspec.structs.replace(meta, end_s=meta.end_s - 600))
        with pytest.raises(Unavailable, match="another process"):
            live.changes(None)


def test_the_checkpoint_of_an_earlier_version_is_continued(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web"))
    poll(live)
    last = json.loads((live.root / STATE).read_text().splitlines()[-1])["checkpoint"]
    (live.root / STATE).unlink()
    (live.root / "versions.json").write_text(json.dumps(last["versions"]))
    before = len(cluster.requests)
    cluster.update(deployment("web", image="a:1"))
    assert poll(live) == 1
    assert all("watch" in request.params for request in cluster.requests[before:])


def test_a_folder_of_something_else_is_left_alone(cluster: FakeCluster, live: LiveObjects, tmp_path: Path) -> None:
    simulate(live.root, seed=1, start_s=time.time() - 600, hours=0.1, workloads=2)
    with pytest.raises(InvalidInput, match="is a simulation"):
        poll(live)
    other = tmp_path / "other"
    with Journal.opened(other, cluster="north", kept_days=1.0) as journal:
        journal.checkpoint({})
    with (
        pytest.raises(InvalidInput, match="records the cluster north, not south"),
        Journal.opened(other, cluster="south", kept_days=1.0),
    ):
        pass


def test_a_cluster_that_does_not_answer_leaves_the_journal_as_it_was(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("web"))
    poll(live)
    before = {path: path.read_bytes() for path in live.root.rglob("*.json")}
    cluster.forbid("pods")
    with pytest.raises(InvalidInput, match='resources: \\["pods"\\]'):
        poll(live)
    assert {path: path.read_bytes() for path in live.root.rglob("*.json")} == before


def test_odd_objects_are_rejected_one_by_one(cluster: FakeCluster, live: LiveObjects) -> None:
    cluster.add(deployment("good"))
    broken = deployment("broken")
    broken["spec"]["template"]["spec"]["containers"] = "none"
    cluster.add(broken)
    cyclic = cluster.add(deployment("cyclic"))
    reference = {"kind": "Deployment", "apiVersion": "apps/v1", "name": "cyclic", "uid": cyclic["metadata"]["uid"]}
    cyclic["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
    cluster.update(cyclic)
    cluster.add(running_pod("pod", cyclic, deployment("cyclic")["spec"]["template"]))
    poll(live)
    now_s = time.time()
    found, rejected = observe(live.events(start_s=now_s - 60, end_s=now_s + 60), start_s=now_s - 60, end_s=now_s + 60)
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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(whole if "/deployments" in self.path else empty).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        config = write_kubeconfig(tmp_path / "config", f"http://127.0.0.1:{server.server_port}")
        live = LiveObjects(tmp_path / "journal", ClusterConfig(kubeconfig=str(config)))
        changes, _ = live.changes(None)
        server.shutdown()
        thread.join()
    names = {change.object["metadata"]["name"] for change in changes}
    if isinstance(metadata, dict) and "name" in metadata:
        assert names == {"good", "no-uid"}
        assert live.damaged == []
    else:
        assert names == {"good"}
        assert live.damaged == ["Deployment: skipped an object without a name"]
