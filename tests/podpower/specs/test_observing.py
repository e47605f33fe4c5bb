"""Objects over time: the template in force, and the pods that each template made."""

from typing import Any

from podpower.sources.protocols import ObjectEvent
from podpower.specs.observing import Observation, observe
from podpower.specs.table import requests_of, specs_table


def owned(kind: str, name: str, uid: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "name": name, "uid": uid, "controller": True}]


def template(image: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "image": image}]}}


def obj(kind: str, name: str, uid: str, *, spec: Any = None, owner: Any = None, **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "uid": uid, "ownerReferences": owner or [], **rest.pop("meta", {})}
    return {"kind": kind, "metadata": metadata, "spec": spec or {}, **rest}


def pod(name: str, image: str, owner: Any, *, phase: str = "Running", labels: Any = None) -> dict[str, Any]:
    # The running pod has a sidecar that its template has not.
    spec = template(image)["spec"]
    spec = {**spec, "containers": [*spec["containers"], {"name": "istio-proxy", "image": "istio/proxyv2"}]}
    status = {"phase": phase}
    return obj("Pod", name, f"uid-{name}", spec=spec, owner=owner, status=status, meta={"labels": labels or {}})


def deployment(image: str, replicas: int = 1) -> dict[str, Any]:
    return obj("Deployment", "web", "d", spec={"replicas": replicas, "template": template(image)})


def replica_set(image: str, uid: str) -> dict[str, Any]:
    return obj(
        "ReplicaSet", f"web-{uid}", uid, spec={"template": template(image)}, owner=owned("Deployment", "web", "d")
    )


def added(ts: float, value: dict[str, Any]) -> ObjectEvent:
    return ObjectEvent(ts=ts, type="ADDED", object=value)


def changed(ts: float, value: dict[str, Any]) -> ObjectEvent:
    return ObjectEvent(ts=ts, type="MODIFIED", object=value)


def deleted(ts: float, value: dict[str, Any]) -> ObjectEvent:
    return ObjectEvent(ts=ts, type="DELETED", object=value)


ROLLOUT = [
    added(1, deployment("nginx:1")),
    added(2, replica_set("nginx:1", "r1")),
    added(3, pod("web-r1-a", "nginx:1", owned("ReplicaSet", "web-r1", "r1"))),
    changed(50, deployment("nginx:1", replicas=4)),
    changed(100, deployment("nginx:2", replicas=4)),
    added(101, replica_set("nginx:2", "r2")),
    added(102, pod("web-r2-b", "nginx:2", owned("ReplicaSet", "web-r2", "r2"))),
    deleted(130, pod("web-r1-a", "nginx:1", owned("ReplicaSet", "web-r1", "r1"))),
]


def seen(events: list[ObjectEvent], start_s: float = 0, end_s: float = 1000) -> list[Observation]:
    observations, rejected = observe(events, start_s=start_s, end_s=end_s, cluster="c")
    assert rejected == []
    return observations


def test_a_rollout_keeps_each_pod_with_the_template_that_made_it() -> None:
    old, new = seen(ROLLOUT)
    assert (old.observed_from_s, old.observed_to_s, [p.pod for p in old.pods]) == (1, 130, ["web-r1-a"])
    assert (new.observed_from_s, new.observed_to_s, [p.pod for p in new.pods]) == (100, None, ["web-r2-b"])
    assert {o.request.workload_kind for o in (old, new)} == {"Deployment"}
    assert old.pods[0].to_s == 130
    assert old.request.sidecar_count == 0  # the template's, not the pod's
    assert old.request.replicas == 4  # a change of scale is no new observation


def test_only_what_was_in_force_in_the_window_is_seen() -> None:
    assert [o.request.containers[0].image for o in seen(ROLLOUT, start_s=140)] == ["nginx:2"]
    assert [o.request.containers[0].image for o in seen(ROLLOUT, end_s=90)] == ["nginx:1"]


def test_jobs_of_a_cron_job_belong_to_it() -> None:
    job = {"spec": {"parallelism": 2, "template": template("backup:1")}}
    cron = {"schedule": "@daily", "timeZone": "Europe/Berlin", "jobTemplate": job}
    events = [
        added(1, obj("CronJob", "backup", "c", spec=cron)),
        added(
            5,
            obj("Job", "backup-1", "j", spec={"template": template("backup:1")}, owner=owned("CronJob", "backup", "c")),
        ),
        added(6, pod("backup-1-x", "backup:1", owned("Job", "backup-1", "j"))),
        changed(9, pod("backup-1-x", "backup:1", owned("Job", "backup-1", "j"), phase="Succeeded")),
    ]
    (observation,) = seen(events)
    assert (observation.request.workload_kind, observation.request.workload_name) == ("CronJob", "backup")
    assert (observation.request.schedule, observation.request.time_zone) == ("@daily", "Europe/Berlin")
    assert observation.request.parallelism == 2
    assert (observation.pods[0].from_s, observation.pods[0].to_s) == (6, 9)


def finished(made: str | None) -> list[ObjectEvent]:
    """A Job and its pod, which were listed when both had finished: the pod has the time of its end."""
    ended = pod("once-x", "busybox:1", owned("Job", "once", "j"), phase="Succeeded")
    if made:
        ended["metadata"]["creationTimestamp"] = made
    return [added(500, obj("Job", "once", "j", spec={"template": template("busybox:1")})), added(400, ended)]


def test_a_pod_that_had_ended_when_first_seen_ran_from_its_creation() -> None:
    gone = deleted(700, finished("1970-01-01T00:05:00Z")[1].object)
    (job,) = seen([*finished("1970-01-01T00:05:00Z"), gone])
    assert (job.request.workload_kind, job.request.workload_name) == ("Job", "once")
    (life,) = job.pods
    assert (life.pod, life.from_s, life.to_s, life.outcome) == ("once-x", 300.0, 400.0, "succeeded")
    assert seen(finished("1970-01-01T00:05:00Z"), start_s=450)[0].pods == []
    assert seen(finished(None))[0].pods == []  # nothing shows when it began


def test_a_pod_that_is_first_seen_deleted_ran_until_then() -> None:
    killed = pod("alone", "busybox:1", None)
    killed["metadata"]["creationTimestamp"] = "1970-01-01T00:05:00Z"
    (bare,) = seen([deleted(420, killed)])
    assert (bare.observed_from_s, bare.observed_to_s) == (300.0, 420.0)
    assert [(life.from_s, life.to_s, life.outcome) for life in bare.pods] == [(300.0, 420.0, "deleted")]


def test_a_daemon_sets_pods_have_the_template_of_their_controller_revision() -> None:
    def revision(name: str, image: str) -> dict[str, Any]:
        return obj(
            "ControllerRevision", f"agent-{name}", f"cr-{name}", owner=owned("DaemonSet", "agent", "ds"),
            data={"spec": {"template": template(image)}}, meta={"labels": {"controller-revision-hash": name}},
        )  # fmt: skip

    events = [
        added(1, obj("DaemonSet", "agent", "ds", spec={"template": template("agent:1")})),
        added(1, revision("h1", "agent:1")),
        added(
            2, pod("agent-a", "agent:1", owned("DaemonSet", "agent", "ds"), labels={"controller-revision-hash": "h1"})
        ),
        changed(10, obj("DaemonSet", "agent", "ds", spec={"template": template("agent:2")})),
        added(10, revision("h2", "agent:2")),
        added(
            11, pod("agent-b", "agent:1", owned("DaemonSet", "agent", "ds"), labels={"controller-revision-hash": "h1"})
        ),
    ]
    by_image = {o.request.containers[0].image: [p.pod for p in o.pods] for o in seen(events)}
    assert by_image == {"agent:1": ["agent-a", "agent-b"], "agent:2": []}


def test_static_pods_belong_to_their_node_each_with_its_own_spec() -> None:
    events = [added(1, pod(f"{n}-n1", n, owned("Node", "n1", "node"))) for n in ("etcd", "kube-apiserver")]
    found = seen(events)
    assert {(o.request.workload_kind, o.request.workload_name) for o in found} == {("Node", "n1")}
    assert len({o.spec_hash for o in found}) == 2


def test_a_cycle_of_owners_ends_and_a_missing_owner_is_known_by_its_reference() -> None:
    events = [
        added(1, obj("Thing", "a", "a", owner=owned("Thing", "b", "b"))),
        added(1, obj("Thing", "b", "b", owner=owned("Thing", "a", "a"))),
        added(2, pod("p", "busybox", owned("Thing", "a", "a"))),
        added(2, pod("q", "busybox:2", owned("ReplicaSet", "gone-5d8f7", "nowhere"))),
    ]
    assert {(o.request.workload_kind, o.pods[0].pod) for o in seen(events)} == {("Thing", "p"), ("ReplicaSet", "q")}


def test_objects_that_cannot_be_read_are_reported_and_the_others_kept() -> None:
    bad = obj("Deployment", "bad", "b", spec={"template": {"spec": {"containers": []}}})
    observations, rejected = observe([added(1, bad), *ROLLOUT], start_s=0, end_s=1000)
    assert len(observations) == 2
    assert [r.source for r in rejected] == ["Deployment shop/bad"]


def test_the_table_holds_everything_and_gives_the_requests_back() -> None:
    observations = seen(ROLLOUT)
    table = specs_table(observations)
    assert table["_spec_hash"].to_list() == [o.spec_hash for o in observations]
    assert table["pods"].list.len().to_list() == [1, 1]
    assert requests_of(table) == [o.request for o in observations]
    assert len(specs_table([])) == 0


def test_pods_of_one_template_follow_a_new_owner_above_it() -> None:
    """A template is read once for its pods, as long as what is above it stays the same."""
    owner = owned("ReplicaSet", "web-r1", "r1")
    rolled = {**deployment("nginx:1", replicas=9), "spec": {"replicas": 9, "template": template("nginx:1")}}
    events = [
        added(1, deployment("nginx:1")),
        added(2, replica_set("nginx:1", "r1")),
        added(3, pod("web-r1-a", "nginx:1", owner)),
        added(4, pod("web-r1-b", "nginx:1", owner)),
        changed(5, rolled),
        added(6, pod("web-r1-c", "nginx:1", owner)),
        changed(7, replica_set("nginx:2", "r1")),
        added(8, pod("web-r1-d", "nginx:2", owner)),
    ]
    found, _ = observe(events, start_s=0, end_s=10)
    assert [(o.request.containers[0].image, [p.pod for p in o.pods], o.request.replicas) for o in found] == [
        ("nginx:1", ["web-r1-a", "web-r1-b", "web-r1-c"], 9),
        ("nginx:2", ["web-r1-d"], 9),
    ]
