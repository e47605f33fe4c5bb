"""Idle watts of a vCPU, measured by a real Prometheus."""

import json
import time

import pytest

from podpower.cli import main
from podpower.labels.now import idle_w_per_vcpu
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.instant import Instant
from tests.clusters.prometheus import backfill, need_prometheus, serving
from tests.podpower.cli.shop import manifest

PACKAGE_W, DRAM_W, CPUS = 40.0, 8.0, 64


def counters(now_s, *, newer):
    """Two hours of idle counters of a node of 64 CPUs, of one generation of Kepler."""
    times = [now_s - 7200 + 30 * step for step in range(241)]
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
