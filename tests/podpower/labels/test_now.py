"""Watts of workloads now, and idle watts of a vCPU, measured by a real Prometheus."""

import json
import time

import pytest

from podpower.cli import main
from podpower.labels import LabelRequest, label_windows
from podpower.labels.now import idle_w_per_vcpu, watts_now
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.instant import Instant
from podpower.sources.prometheus.source import Prometheus
from tests.clusters.prometheus import backfill, need_prometheus, serving
from tests.podpower.cli.shop import manifest

PACKAGE_W, DRAM_W, CPUS = 40.0, 8.0, 64


def counters(now_s, *, newer):
    """Two hours of idle counters of a node of 64 CPUs, of one generation of Kepler. The last twenty minutes are yet to
    come: there are samples up to the present, however slow the machine.
    """
    times = [now_s + 1200 - 7200 + 30 * step for step in range(241)]
    lines = []
    for zone, watts in (("core", 20.0), ("dram", DRAM_W), ("package", PACKAGE_W), ("psys", 90.0)):
        name = "kepler_node_cpu_idle_joules" if newer else f"kepler_node_{zone}_joules"
        labels = f'zone="{zone}",node_name="n1"' if newer else 'mode="idle",instance="n1"'
        lines += [] if newer and zone != "core" else [f"# TYPE {name} counter"]
        lines += [f"{name}_total{{{labels}}} {watts * (at - times[0]):.1f} {at:.0f}" for at in times]
    lines += ["# TYPE machine_cpu_cores gauge", *(f'machine_cpu_cores{{node="n1"}} {CPUS} {at:.0f}' for at in times)]
    return "\n".join([*lines, "# EOF", ""])


@pytest.mark.parametrize("newer", [True, False], ids=["Kepler 0.10", "Kepler 0.9"])
def test_idle_watts_of_a_vcpu_are_those_of_packages_and_memory_over_all_cpus(newer, tmp_path, monkeypatch, capsys):
    need_prometheus()
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    (tmp_path / "samples.txt").write_text(counters(time.time() // 30 * 30, newer=newer))
    (tmp_path / "web.yaml").write_text(manifest("web", "nginx:1.27", cpu="500m", replicas=4))
    backfill(tmp_path / "samples.txt", tmp_path / "tsdb")
    expected = (PACKAGE_W + DRAM_W) / CPUS
    with serving(tmp_path / "tsdb") as url:
        with Instant(Endpoint(url=url)) as source:
            watts, origin = idle_w_per_vcpu(source)
        assert watts == pytest.approx(expected, rel=0.02)
        assert "64 CPUs" in origin
        arguments = ["predict", str(tmp_path / "web.yaml"), "--scope", "total", "--prom", url, "--format", "json"]
        assert main(arguments) == 0
        answer = json.loads(capsys.readouterr().out)
    assert answer["predictions"][0]["idle_avg_power_w"] == pytest.approx(4 * 0.5 * expected, rel=0.02)
    assert answer["inputs"]["idle_source"].startswith("measured")


ZONES_W = {"core": 20.0, "dram": 1.5, "psys": 6.0}
# Of kube-state-metrics scraped without honor_labels: `namespace` and `pod` are its own.
OWNERS = """\
# TYPE kube_pod_owner gauge
kube_pod_owner{{{scraped},exported_pod="web-x-1",owner_kind="ReplicaSet",owner_name="web-x"}} 1 {at}
# TYPE kube_replicaset_owner gauge
kube_replicaset_owner{{{scraped},replicaset="web-x",owner_kind="Deployment",owner_name="web"}} 1 {at}
"""


def test_watts_now_have_the_zones_and_the_owners_of_labels(tmp_path):
    need_prometheus()
    now_s = time.time() // 60 * 60
    times = [now_s - 1800 + 30 * step for step in range(61)]
    lines = ["# TYPE kepler_pod_cpu_joules counter"]
    for zone, watts in ZONES_W.items():
        labels = (
            f'pod_namespace="shop",pod_name="web-x-1",node_name="n1",zone="{zone}",namespace="kepler",pod="kepler-1"'
        )
        lines += [f"kepler_pod_cpu_joules_total{{{labels}}} {watts * (at - times[0]):.1f} {at:.0f}" for at in times]
    scraped = 'namespace="monitoring",pod="kube-state-metrics-0",exported_namespace="shop"'
    owners = OWNERS.format(scraped=scraped, at=f"{now_s:.0f}").rstrip()
    (tmp_path / "samples.txt").write_text("\n".join([*lines, owners, "# EOF", ""]))
    backfill(tmp_path / "samples.txt", tmp_path / "tsdb")
    with serving(tmp_path / "tsdb") as url:
        endpoint = Endpoint(url=url)
        with Instant(endpoint) as source:
            now = watts_now(source, ts=now_s)
        request = LabelRequest(start_s=now_s - 600, end_s=now_s, owner_source="prom")
        with Prometheus(endpoint) as samples:
            labels = label_windows(samples, None, request).table.drop_nulls("energy_step_j")
    assert {name: power.watts for name, power in now.items()} == {
        ("shop", "Deployment", "web"): pytest.approx(labels["avg_power_w"].mean(), rel=0.02)
    }
    assert labels["avg_power_w"].mean() == pytest.approx(ZONES_W["psys"] + ZONES_W["dram"])
