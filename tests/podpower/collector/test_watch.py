"""`podpower collect watch` as a process: what it writes, how it goes on, and how it ends."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from podpower.collector.journal import Journal
from podpower.sources.journal.reader import JournalReader
from podpower.specs.ndjson import read_ndjson
from tests.clusters import observers
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, owned, running_pod, write_kubeconfig
from tests.http_servers import Request, Response, serving
from tests.waiting import until

Line = dict[str, Any]


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


class Watching:
    """Starts watches that write to one output, and reads it."""

    def __init__(self, cluster: FakeCluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.out = folder / "in.ndjson"
        self._config = write_kubeconfig(folder / "config", cluster.url)
        self.process: Any = None

    def start(self, *options: str, output: bool = True, watches: int = 7) -> None:
        options = ("--kubeconfig", str(self._config), *options, *(("--output", str(self.out)) if output else ()))
        self.process = observers.start(observers.watch, *options, folder=self.folder)
        if watches:
            self.cluster.wait_for_watches(watches, timeout=120)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        os.kill(self.process.pid, number)
        code = self.ended()
        until(lambda: self.cluster.watches() == 0)
        return code

    def ended(self) -> int:
        """The exit code, negative for a signal."""
        self.process.join(120)
        return int(self.process.exitcode)

    def lines(self, path: Path | None = None) -> list[Line]:
        place = path or self.out
        whole = place.read_text().rpartition("\n")[0] if place.exists() else ""  # the last line may be half written
        return [json.loads(line) for line in whole.splitlines()]

    def told(self) -> list[tuple[str, str, str | None]]:
        return [(line["event"], line["workload_name"], line["containers"][0]["image"]) for line in self.lines()]

    def until_told(self, number: int) -> list[tuple[str, str, str | None]]:
        until(lambda: len(self.lines()) >= number)
        time.sleep(0.1)  # whatever comes too much
        return self.told()

    def complaints(self) -> str:
        return (self.folder / "stderr").read_text()


@pytest.fixture
def watching(cluster: FakeCluster, tmp_path: Path) -> Iterator[Watching]:
    started = Watching(cluster, tmp_path)
    yield started
    if started.process is not None:
        started.process.kill()
        started.process.join()


def test_every_change_is_a_line_that_others_read(cluster: FakeCluster, watching: Watching) -> None:
    cluster.add(deployment("web"))
    watching.start("--emit-initial")
    watching.until_told(1)
    cluster.update(deployment("web", image="nginx:2"))
    cluster.add(deployment("db", image="postgres:17"))
    watching.until_told(3)
    cluster.delete("Deployment", "shop", "web")
    assert watching.until_told(4) == [
        ("ADDED", "web", "nginx:1.27"),
        ("MODIFIED", "web", "nginx:2"),
        ("ADDED", "db", "postgres:17"),
        ("DELETED", "web", "nginx:2"),
    ]
    assert watching.stop() == 0
    with watching.out.open("rb") as stream:
        requests = list(read_ndjson(stream, source="out"))
    assert [request.workload_name for request in requests] == ["web", "web", "db", "web"]
    assert {line["cluster"] for line in watching.lines()} == {"test-cluster"}


def test_a_long_hostile_value_of_the_environment_holds_nothing_up(cluster: FakeCluster, watching: Watching) -> None:
    watching.start()
    for number, fragment in enumerate(("a", "+", "a.b-c_", "-u a:b ")):
        cluster.add(deployment(f"hostile-{number}", OPTIONS=fragment * (100_000 // len(fragment))))
    cluster.add(deployment("web"))
    told = watching.until_told(5)  # within 20 s; 20 KB took 28 s
    assert [name for _, name, _ in told] == [*(f"hostile-{n}" for n in range(4)), "web"]


def test_without_the_initial_objects_only_changes_are_emitted(cluster: FakeCluster, watching: Watching) -> None:
    cluster.add(deployment("web"))
    watching.start()
    cluster.update(deployment("web", image="nginx:2"))
    assert watching.until_told(1) == [("MODIFIED", "web", "nginx:2")]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_watch_that_is_started_again_continues_without_a_gap_or_a_repeat(
    cluster: FakeCluster, watching: Watching, ending: signal.Signals
) -> None:
    for name in ("web", "db", "idle"):
        cluster.add(deployment(name))
    watching.start()
    cluster.update(deployment("web", image="a:1"))
    watching.until_told(1)
    assert watching.stop(ending) == {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGKILL: -9}[ending]
    cluster.update(deployment("web", image="a:2"))
    cluster.delete("Deployment", "shop", "db")
    watching.start()
    cluster.update(deployment("web", image="a:3"))
    told = watching.until_told(4)
    assert sorted(told) == sorted(
        [("MODIFIED", "web", f"a:{n}") for n in (1, 2, 3)] + [("DELETED", "db", "nginx:1.27")]
    )  # fmt: skip
    identities = [(line["uid"], line["resource_version"], line["event"]) for line in watching.lines()]
    assert len(set(identities)) == len(identities)


def test_after_a_pause_longer_than_the_history_the_difference_is_emitted(
    cluster: FakeCluster, watching: Watching
) -> None:
    for name in ("stays", "changes", "goes"):
        cluster.add(deployment(name))
    watching.start()
    watching.stop()
    cluster.update(deployment("changes", image="nginx:9"))
    cluster.delete("Deployment", "shop", "goes")
    cluster.add(deployment("comes"))
    cluster.forget()
    watching.start()
    told = watching.until_told(3)
    assert sorted((event, name) for event, name, _ in told) == [
        ("ADDED", "comes"), ("DELETED", "goes"), ("MODIFIED", "changes"),
    ]  # fmt: skip


def test_a_line_that_a_crash_left_half_written_is_written_again(cluster: FakeCluster, watching: Watching) -> None:
    watching.start("--emit-initial")
    watching.stop()
    cluster.add(deployment("web"))
    state = Path(f"{watching.out}.state").read_bytes()
    watching.start()
    watching.until_told(1)
    watching.stop()
    watching.out.write_bytes(watching.out.read_bytes()[:-30])
    Path(f"{watching.out}.state").write_bytes(state)
    watching.start()
    assert watching.until_told(1) == [("ADDED", "web", "nginx:1.27")]


def test_pods_stand_under_their_top_owner_with_the_template_that_made_them(
    cluster: FakeCluster, watching: Watching
) -> None:
    cluster.register("ray.io", "v1", "rayclusters", "RayCluster")
    web = deployment("web", image="nginx:2")
    stored = cluster.add(web)
    old = deployment("web", image="nginx:1")["spec"]["template"]
    replicas = cluster.add(owned("ReplicaSet", "web-1", stored, spec={"template": old}))
    pod = running_pod("web-1-x", replicas, old)
    pod["spec"]["containers"].append({"name": "istio-proxy", "image": "istio/proxyv2:1"})
    cluster.add(pod)
    base = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "shop"}}
    db = cluster.add({**base, "spec": {"replicas": 1, "template": deployment("db", image="pg:2")["spec"]["template"]}})
    revision = {"spec": {"template": deployment("db", image="pg:1")["spec"]["template"]}}
    cluster.add(owned("ControllerRevision", "db-7f", db, data=revision, labels={"controller-revision-hash": "db-7f"}))
    labels = {"controller-revision-hash": "db-7f"}
    cluster.add(running_pod("db-0", db, revision["spec"]["template"], labels=labels))
    ray = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "ray", "namespace": "shop"}}
    head = running_pod("ray-head", cluster.add(ray), deployment("x", image="ray:2")["spec"]["template"])
    cluster.add(head)
    watching.start("--emit-initial", "--kinds", "Pod", watches=1)
    watching.until_told(3)
    found = {(li["workload_kind"], li["workload_name"], li["containers"][0]["image"]) for li in watching.lines()}
    assert found == {
        ("Deployment", "web", "nginx:1"),
        ("StatefulSet", "db", "pg:1"),
        ("RayCluster", "ray", "ray:2"),
    }
    assert {len(line["containers"]) for line in watching.lines()} == {1}


def test_a_job_that_was_made_again_under_its_name_has_its_own_template(
    cluster: FakeCluster, watching: Watching
) -> None:
    """Its pods had the template of the pod, with what was injected: the owner was remembered by its name."""
    watching.start("--emit-initial", "--kinds", "Pod", watches=1)
    for number in (1, 2):
        template = deployment("report", image=f"report:{number}")["spec"]["template"]
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "report", "namespace": "shop"}}
        stored = cluster.add({**job, "spec": {"template": template}})
        pod = running_pod(f"report-{number}", stored, template)
        pod["spec"]["containers"].append({"name": "istio-proxy", "image": "istio/proxyv2:1"})
        cluster.add(pod)
        assert watching.until_told(number)[-1] == ("ADDED", "report", f"report:{number}")
        cluster.delete("Job", "shop", "report")
    assert [len(line["containers"]) for line in watching.lines()] == [1, 1]


@pytest.mark.parametrize("may_list", [True, False])
def test_many_owners_are_listed_at_once_and_one_by_one_where_that_is_forbidden(
    cluster: FakeCluster, watching: Watching, may_list: bool
) -> None:
    apps = 40
    for number in range(apps):
        web = cluster.add(deployment(f"web-{number}", image=f"nginx:{number}"))
        template = web["spec"]["template"]
        old = owned("ReplicaSet", f"web-{number}-0", web, spec={"replicas": 0, "template": template})
        cluster.add(old)
        replicas = cluster.add(owned("ReplicaSet", f"web-{number}-1", web, spec={"replicas": 2, "template": template}))
        for pod in range(2):
            cluster.add(running_pod(f"web-{number}-1-{pod}", replicas, template))
    if not may_list:
        cluster.forbid("replicasets", "list")
    watching.start("--emit-initial", "--kinds", "Pod", watches=1)
    told = watching.until_told(2 * apps)
    assert sorted(told) == sorted(2 * [("ADDED", f"web-{n}", f"nginx:{n}") for n in range(apps)])
    singly = sum("/replicasets/" in request.path for request in cluster.requests)
    assert singly < 15 if may_list else singly == apps


def test_owned_objects_are_not_emitted_separately(cluster: FakeCluster, watching: Watching) -> None:
    stored = cluster.add(deployment("web"))
    template = deployment("web")["spec"]["template"]
    replicas = cluster.add(owned("ReplicaSet", "web-1", stored, spec={"template": template}))
    cluster.add(running_pod("web-1-x", replicas, template))
    watching.start("--emit-initial")
    assert watching.until_told(1) == [("ADDED", "web", "nginx:1.27")]


def test_what_cannot_be_read_is_counted_kept_and_passed_over(cluster: FakeCluster, watching: Watching) -> None:
    broken = deployment("broken")
    broken["spec"]["template"]["spec"]["containers"] = []
    cluster.add(broken)
    cluster.add(deployment("web"))
    watching.start("--emit-initial", "--metrics-port", "0")
    assert watching.until_told(1) == [("ADDED", "web", "nginx:1.27")]
    url = re.search(r"metrics: (http\S+)", watching.complaints())
    assert url is not None
    metrics = httpx.get(url[1]).text
    assert "podpower_watch_rejected_total 1.0" in metrics
    assert 'podpower_watch_events_total{event="ADDED",resource="apps/v1/deployments"} 2.0' in metrics
    assert 'podpower_watch_lists_total{resource="/v1/pods"} 1.0' in metrics
    watching.stop()
    [kept] = watching.lines(Path(f"{watching.out}.rejected"))
    assert "at least one container" in kept["detail"]
    assert kept["object"]["metadata"]["name"] == "broken"
    assert "rejected: Deployment shop/broken" in watching.complaints()


class Receiver:
    """Takes lines by POST, answering with the statuses of `script` first."""

    def __init__(self) -> None:
        self.bodies: list[Line] = []
        self.headers: list[dict[str, str]] = []
        self.script: list[int] = []
        self.url = ""

    def respond(self, request: Request) -> Response:
        status = self.script.pop(0) if self.script else 200
        if status == 200:
            self.bodies.append(json.loads(request.body))
            self.headers.append(dict(request.headers))
        return Response(status=status)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    taking = Receiver()
    with serving(taking.respond) as address:
        taking.url = f"{address}/predict"
        yield taking


def test_lines_are_posted_in_order_until_they_are_taken(
    cluster: FakeCluster, watching: Watching, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script = [503, 429, 200, 422]
    (tmp_path / "token").write_text("s3cret")
    watching.start("--post", receiver.url, "--post-token-file", str(tmp_path / "token"))
    for number in range(5):
        cluster.update(deployment("web", image=f"a:{number}")) if number else cluster.add(
            deployment("web", image="a:0")
        )
        until(lambda n=number: len(watching.lines()) > n)  # type: ignore[misc]
    until(lambda: len(receiver.bodies) == 4)
    assert [body["containers"][0]["image"] for body in receiver.bodies] == ["a:0", "a:2", "a:3", "a:4"]
    assert {headers["Authorization"] for headers in receiver.headers} == {"Bearer s3cret"}
    assert len({headers["Idempotency-Key"] for headers in receiver.headers}) == 4
    assert watching.stop() == 0
    [refused] = watching.lines(Path(f"{watching.out}.rejected"))
    assert "answers 422" in refused["detail"]
    assert refused["line"]["containers"][0]["image"] == "a:1"
    assert "s3cret" not in watching.complaints() + watching.out.read_text()


def test_what_could_not_be_posted_is_posted_by_the_next_watch(
    cluster: FakeCluster, watching: Watching, receiver: Receiver
) -> None:
    receiver.script = [503] * 1000
    watching.start("--post", receiver.url)
    cluster.add(deployment("web"))
    watching.until_told(1)
    watching.stop()
    assert receiver.bodies == []
    receiver.script = []
    watching.start("--post", receiver.url)
    cluster.add(deployment("db"))
    until(lambda: len(receiver.bodies) == 2)
    assert [body["workload_name"] for body in receiver.bodies] == ["web", "db"]
    assert watching.stop() == 0


def test_a_receiver_that_is_away_makes_the_watch_wait_and_loses_nothing(
    cluster: FakeCluster, watching: Watching, receiver: Receiver
) -> None:
    receiver.script = [503] * 6
    cluster.put_many(deployment(f"web-{n}") for n in range(1500))  # more than the queue holds
    watching.start("--emit-initial", "--post", receiver.url, output=False)
    until(lambda: len(receiver.bodies) == 1500, seconds=60)
    assert len({body["workload_name"] for body in receiver.bodies}) == 1500
    assert len(watching.lines(watching.folder / "stdout")) == 1500


def test_standard_output_is_an_output_too(cluster: FakeCluster, watching: Watching) -> None:
    cluster.add(deployment("web"))
    watching.start("--emit-initial", "--kinds", "deployments", "--namespaces", "shop", output=False, watches=1)
    until(lambda: len(watching.lines(watching.folder / "stdout")) == 1)
    assert watching.stop() == 0


@pytest.mark.parametrize(
    ("options", "told", "code"),
    [
        (("--kinds", "Deploy"), "unknown kind 'Deploy'", 1),
        (("--kinds", "ray.io/v1/rayclusters"), "no rayclusters of ray.io/v1", 1),
        (("--post", "predict"), "is not a URL", 1),
        (("--journal", "ftp9://bucket/journal"), "ftp9:// is not known", 1),
        (("--journal", "j", "--flush-every", "11s"), "--flush-every must be at most 10s", 2),
        (("--post-token-file", "x"), "goes with --post URL", 2),
        (("--context", "other"), "no context 'other'", 1),
        (("--namespaces", "a", "--exclude-namespaces", "a"), "every namespace that is named is also excluded", 1),
    ],
)
def test_what_cannot_be_is_one_line_and_an_exit_code(
    watching: Watching, options: tuple[str, ...], told: str, code: int
) -> None:
    watching.start(*options, watches=0)
    assert watching.ended() == code
    assert told in watching.complaints()
    assert "Traceback" not in watching.complaints()


def test_a_journal_of_a_standing_watch_is_read_while_it_is_written(
    cluster: FakeCluster, watching: Watching, tmp_path: Path
) -> None:
    root = tmp_path / "journal"
    cluster.add(deployment("web"))
    watching.start("--journal", str(root), "--flush-every", "0.1", output=False, watches=8)
    until((root / "journal.json").exists)
    journal = JournalReader(root)
    changes, cursor = journal.changes(None)
    assert [change.object["metadata"]["name"] for change in changes] == ["web"]
    stored = cluster.update(deployment("web", image="nginx:2"))
    template = deployment("web", image="nginx:2")["spec"]["template"]
    labels = {"app": "web", "pod-template-hash": "7f"}
    replicas = owned("ReplicaSet", "web-7f", stored, spec={"template": template})
    replicas["metadata"]["uid"] = "7f"
    cluster.add(running_pod("web-7f-x", {**stored, **replicas}, template, labels=labels))  # before its owner
    cluster.add(replicas)
    found: list[str] = []

    def read() -> bool:
        nonlocal cursor
        changes, cursor = journal.changes(cursor)
        found.extend(change.object["kind"] for change in changes)
        return len(found) == 3

    until(read)
    assert found == ["Deployment", "ReplicaSet", "Pod"]
    assert watching.lines(tmp_path / "stdout") == []
    assert watching.stop() == 0


def test_a_journal_that_another_process_writes_is_left_alone(
    cluster: FakeCluster, watching: Watching, tmp_path: Path
) -> None:
    with Journal.opened(tmp_path / "journal", cluster="test-cluster"):
        watching.start("--journal", str(tmp_path / "journal"), watches=0)
        assert watching.ended() == 1
    assert "is being written by another process" in watching.complaints()


def test_what_is_forbidden_names_the_rule(cluster: FakeCluster, watching: Watching) -> None:
    cluster.forbid("cronjobs")
    watching.start(watches=0)
    assert watching.ended() == 1
    assert 'apiGroups: ["batch"], resources: ["cronjobs"], verbs: ["get", "list", "watch"]' in watching.complaints()


def test_an_output_of_something_else_or_of_another_watch_is_left_alone(
    cluster: FakeCluster, watching: Watching
) -> None:
    watching.out.write_text('{"workload_name": "mine"}\n')
    watching.start(watches=0)
    assert watching.ended() == 1
    assert "was not written by `collect watch`" in watching.complaints()
    assert watching.out.read_text() == '{"workload_name": "mine"}\n'
    watching.out.unlink()
    watching.start()
    first = watching.process
    watching.start(watches=0)
    assert watching.ended() == 1
    assert "being written by another watch" in watching.complaints()
    first.kill()
    first.join()


def test_a_cut_connection_is_taken_up_again(cluster: FakeCluster, watching: Watching) -> None:
    cluster.add(deployment("web"))
    watching.start()
    for number in range(3):
        cluster.cut(mid_line=bool(number % 2))
        cluster.update(deployment("web", image=f"a:{number}"))
        watching.until_told(number + 1)
    assert [image for _, _, image in watching.told()] == ["a:0", "a:1", "a:2"]


def test_a_full_disk_is_an_error(cluster: FakeCluster, watching: Watching) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    watching.out.symlink_to(full)
    cluster.add(deployment("web"))
    watching.start("--emit-initial", watches=0)
    assert watching.ended() == 1
    assert "Traceback" not in watching.complaints()
    assert watching.complaints().strip().splitlines()[-1].startswith("error: ")
