"""What must hold for any cluster: the fake one, and the real one of PODPOWER_TEST_KUBECONFIG where that is set.

A real cluster is changed only in a namespace that the tests make and delete.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podpower.collector.present import present_objects
from podpower.doctor import examine_cluster
from podpower.sources.journal.reader import JournalReader
from podpower.sources.kubernetes.access import ClusterConfig, open_access
from podpower.sources.kubernetes.list_watch import Selection
from podpower.specs.observing import observe
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, write_kubeconfig
from tests.clusters.real import RealCluster
from tests.waiting import until

REAL = os.environ.get("PODPOWER_TEST_KUBECONFIG")


@pytest.fixture(params=["fake", *(["real"] if REAL else [])])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealCluster]:
    if request.param == "real":
        with RealCluster(Path(str(REAL))) as real:
            yield real
        return
    with FakeCluster() as fake, RealCluster(write_kubeconfig(tmp_path / "config", fake.url)) as place:
        yield place


def web(image: str = "registry.k8s.io/pause:3.9") -> dict:  # type: ignore[type-arg]
    return deployment("web", image=image, replicas=0, LEVEL="info")


def watch(cluster: RealCluster, out: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "podpower", "collect", "watch", "--kubeconfig", str(cluster.kubeconfig)]
    command += ["--namespaces", cluster.namespace, "--kinds", "Deployment", "--output", str(out), *options]
    return subprocess.Popen(command)


def told(out: Path, number: int) -> list[tuple[str, str | None]]:
    """The changes of the template, once there are so many: a real controller writes the status as well."""
    deadline = time.monotonic() + 120
    while True:
        whole = out.read_text().rpartition("\n")[0] if out.exists() else ""  # the last line may be half written
        lines = [json.loads(line) for line in whole.splitlines()]
        found = [(line["event"], line["containers"][0]["image"]) for line in lines]
        changes = [f for n, f in enumerate(found) if n == 0 or f[1] != found[n - 1][1] or f[0] == "DELETED"]
        if len(changes) >= number or time.monotonic() > deadline:
            return changes
        time.sleep(0.1)


def test_changes_are_emitted_across_a_restart(cluster: RealCluster, tmp_path: Path) -> None:
    out = tmp_path / "in.ndjson"
    cluster.add(web("a:1"))
    first = watch(cluster, out, "--emit-initial")
    assert told(out, 1) == [("ADDED", "a:1")]
    cluster.update(web("a:2"))
    assert told(out, 2)[1:] == [("MODIFIED", "a:2")]
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=120) == 0
    cluster.update(web("a:3"))
    second = watch(cluster, out)
    assert told(out, 3)[2:] == [("MODIFIED", "a:3")]
    cluster.delete(web())
    assert told(out, 4)[3:] == [("DELETED", "a:3")]
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=120) == 0


def test_a_journal_keeps_what_happened(cluster: RealCluster, tmp_path: Path) -> None:
    cluster.add(web("a:1"))
    started = watch(cluster, tmp_path / "out", "--journal", str(tmp_path / "journal"), "--flush-every", "0.2")
    assert told(tmp_path / "out", 0) == []
    until((tmp_path / "journal" / "journal.json").exists)
    cluster.update(web("a:2"))
    assert told(tmp_path / "out", 1) == [("MODIFIED", "a:2")]
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=120) == 0
    now_s = time.time()
    window = {"start_s": now_s - 300, "end_s": now_s + 60}
    found, rejected = observe(JournalReader(tmp_path / "journal").events(**window), **window)
    assert [o.request.containers[0].image for o in found if o.request.workload_name == "web"] == ["a:1", "a:2"]
    assert rejected == []


def test_the_present_is_listed(cluster: RealCluster) -> None:
    cluster.add(web())
    selected = Selection(namespaces=(cluster.namespace,))
    events = present_objects(open_access(ClusterConfig(kubeconfig=str(cluster.kubeconfig))), selected)
    assert "web" in {event.object["metadata"]["name"] for event in events}


def test_a_cluster_that_lets_us_is_in_order(cluster: RealCluster) -> None:
    findings = examine_cluster(lambda: open_access(ClusterConfig(kubeconfig=str(cluster.kubeconfig))))
    assert {f.check: f.state for f in findings} == dict.fromkeys(
        ["cluster", "cluster clock", "identity", "rights"], "ok"
    )
