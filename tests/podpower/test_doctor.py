"""What the doctor finds, and what it says to do about it."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from podpower.cli import main
from tests.clusters.fake import FakeCluster
from tests.clusters.living import Living, living
from tests.clusters.objects import write_kubeconfig
from tests.clusters.prometheus import backfill, need_prometheus, serving

Findings = dict[str, dict[str, str]]


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Living]:
    need_prometheus()
    with living(tmp_path, hours=1, workloads=14) as running:
        yield running


@pytest.fixture
def measured(lived: Living) -> str:
    return lived.prometheus_url


@pytest.fixture
def cluster(lived: Living) -> FakeCluster:
    return lived.cluster


def examined(url: str, config: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Findings]:
    code = main(["doctor", "--prom", url, "--kubeconfig", str(config), "--format", "json", *options])
    return code, {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_all_is_well(measured: str, cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_kubeconfig(tmp_path / "config", cluster.url)
    code, found = examined(measured, config, capsys)
    assert code == 0
    assert {check: finding["state"] for check, finding in found.items()} == dict.fromkeys(
        ["cluster", "cluster clock", "rights", "identity", "prometheus", "prometheus clock", "owners", "kepler",
         "energy", "scrapes", "sums", "pods"], "ok",
    )  # fmt: skip
    assert "Kepler 0.10" in found["kepler"]["detail"]
    assert "every 30 s" in found["scrapes"]["detail"]
    assert re.search(r"0\.9\d of their nodes \(package\)", found["sums"]["detail"])


def test_a_table_is_what_people_get(
    measured: str, cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.forbid("replicasets", "watch")
    config = write_kubeconfig(tmp_path / "config", cluster.url)
    assert main(["doctor", "--prom", measured, "--kubeconfig", str(config)]) == 1
    shown = capsys.readouterr().out
    assert "rights" in shown
    assert "kubectl create clusterrole podpower --verb=get,list,watch --resource=replicasets.apps" in shown


def test_clocks_apart_are_reported(
    measured: str, cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.clock_skew_s = -120
    code, found = examined(measured, write_kubeconfig(tmp_path / "config", cluster.url), capsys)
    assert code == 1
    assert found["cluster clock"]["state"] == "fail"
    assert re.match(r"12\d s behind ours", found["cluster clock"]["detail"])
    assert "set-ntp" in found["cluster clock"]["fix"]


def test_pods_without_energy_are_named_with_their_nodes(
    measured: str, cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dark", "namespace": "a"}}
    pod["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z"}
    cluster.add({**pod, "spec": {"nodeName": "node-9", "containers": [{"name": "c"}]}, "status": {"phase": "Running"}})
    code, found = examined(measured, write_kubeconfig(tmp_path / "config", cluster.url), capsys)
    assert code == 0
    assert found["pods"]["state"] == "warn"
    assert "a/dark" in found["pods"]["detail"]
    assert "node-9" in found["pods"]["detail"]


def test_a_prometheus_that_is_away_is_reported_and_the_cluster_still_examined(
    cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stamina.set_testing(True):
        code, found = examined("http://127.0.0.1:9", write_kubeconfig(tmp_path / "config", cluster.url), capsys)
    assert code == 1
    assert found["prometheus"]["state"] == "fail"
    assert "port-forward" in found["prometheus"]["fix"]
    assert "doctor" not in found["prometheus"]["detail"]
    assert found["rights"]["state"] == "ok"


def test_a_cluster_that_is_away_is_reported_and_prometheus_still_examined(
    measured: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = examined(measured, tmp_path / "nowhere", capsys)
    assert code == 1
    assert found["cluster"]["state"] == "fail"
    assert "no kubeconfig at" in found["cluster"]["detail"]
    assert found["energy"]["state"] == "ok"


def test_a_cluster_without_running_pods_is_not_called_well(
    measured: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeCluster() as empty:
        _, found = examined(measured, write_kubeconfig(tmp_path / "config", empty.url), capsys)
    assert found["pods"]["state"] == "warn"
    assert "no running pod" in found["pods"]["detail"]
    assert found["pods"]["fix"]


LABELS = 'pod_namespace="shop",pod_name="web",pod_id="w",zone="package",node_name="n"'


@pytest.mark.parametrize(
    ("series", "check", "state", "told"),
    [
        ([], "kepler", "fail", "helm upgrade --install kepler"),
        (['kepler_node_cpu_joules_total{node_name="n"} 5'], "kepler", "fail", "config.kube.enabled to true"),
        ([f"kepler_pod_cpu_joules_total{{{LABELS}}} 0"], "energy", "fail", "bare metal"),
        (
            ['kepler_pod_cpu_joules_total{pod_namespace="shop",exported_pod="web",zone="package"} 5'],
            "labels", "fail", "have no label pod_name (their labels: exported_pod, pod_namespace, zone)",
        ),
        ([f"kepler_pod_cpu_joules_total{{{LABELS}}} 5"], "owners", "warn", "kube-state-metrics"),
        ([f"kepler_pod_cpu_joules_total{{{LABELS}}} 5"], "scrapes", "warn", "ServiceMonitor"),
        (
            [f"kepler_pod_cpu_joules_total{{{LABELS}}} 5", 'kepler_container_joules_total{pod_name="web"} 5'],
            "kepler", "warn", "older",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_comes_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], series: list[str], check: str, state: str, told: str
) -> None:
    need_prometheus()
    now_s = time.time()
    lines = [f"{one} {now_s - 240 + ago:.0f}" for one in sorted(series) for ago in (0, 120, 230)]
    lines.append(f'other{{a="b"}} 1 {now_s - 100:.0f}')
    (tmp_path / "text.om").write_text("\n".join(sorted(lines)) + "\n# EOF\n")
    backfill(tmp_path / "text.om", tmp_path / "tsdb")
    with serving(tmp_path / "tsdb") as url:
        _, found = examined(url, tmp_path / "nowhere", capsys)
    assert found[check]["state"] == state
    assert told in found[check]["detail" if check == "labels" else "fix"]


def served(tmp_path: Path, lines: list[str]):  # type: ignore[no-untyped-def]
    need_prometheus()
    (tmp_path / "text.om").write_text("\n".join(lines) + "\n# EOF\n")
    backfill(tmp_path / "text.om", tmp_path / "tsdb")
    return serving(tmp_path / "tsdb")


def test_a_minute_of_data_shows_the_true_scrape_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now_s = time.time()
    series = f"kepler_pod_cpu_joules_total{{{LABELS}}}"
    with served(tmp_path, [f"{series} {100 - ago} {now_s - ago:.0f}" for ago in (65, 45, 25, 5)]) as url:
        _, found = examined(url, tmp_path / "nowhere", capsys)
    assert found["scrapes"]["state"] == "ok"
    assert "every 20 s" in found["scrapes"]["detail"]


def test_one_sample_shows_no_scrape_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path, [f"kepler_pod_cpu_joules_total{{{LABELS}}} 5 {time.time() - 5:.0f}"]) as url:
        _, found = examined(url, tmp_path / "nowhere", capsys)
    assert found["scrapes"]["state"] == "warn"
    assert "in a minute" in found["scrapes"]["fix"]


@pytest.mark.parametrize(("node_w", "state"), [(10.0, "ok"), (4.0, "fail"), (15.0, "fail")])
def test_pods_are_held_against_their_nodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], node_w: float, state: str
) -> None:
    now_s = time.time()
    active = 'kepler_node_cpu_active_joules_total{node_name="n",zone="package",path="p0"}'
    pod = f"kepler_pod_cpu_joules_total{{{LABELS}}}"
    lines = [f"{name} {watts * (900 - ago)} {now_s - ago:.0f}"
             for name, watts in ((active, node_w), (pod, 10.0)) for ago in range(900, 0, -30)]  # fmt: skip
    with served(tmp_path, lines) as url:
        code, found = examined(url, tmp_path / "nowhere", capsys)
    assert found["sums"]["state"] == state
    assert f"{10.0 / node_w:.2f} of their nodes (package)" in found["sums"]["detail"]
    assert code == 1  # no cluster either
    assert bool(found["sums"]["fix"]) is (state == "fail")


def test_a_cluster_whose_identity_cannot_be_read_is_a_warning_with_the_rule(
    measured: str, cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.forbid("namespaces", "get")
    config = write_kubeconfig(tmp_path / "config", cluster.url)
    _, found = examined(measured, config, capsys)
    assert found["identity"]["state"] == "warn"
    assert "--resource-name=kube-system" in found["identity"]["fix"]
