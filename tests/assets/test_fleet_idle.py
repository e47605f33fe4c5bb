"""Idle watts of the fleet summary, of a real Prometheus."""

import time

import pytest

from podpower_assets.resources import Source
from tests.clusters.prometheus import backfill, need_prometheus, serving
from tests.podpower.labels.test_now import CPUS, DRAM_W, PACKAGE_W, counters


def test_the_idle_watts_of_a_cluster_are_those_of_its_prometheus(tmp_path, monkeypatch):
    need_prometheus()
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    source = Source(recording=str(tmp_path / "journal"))
    assert source.idle() is None  # a recording has none
    (tmp_path / "samples.txt").write_text(counters(time.time() // 30 * 30, newer=True))
    backfill(tmp_path / "samples.txt", tmp_path / "tsdb")
    with serving(tmp_path / "tsdb") as url:
        monkeypatch.setenv("PODPOWER_PROMETHEUS_URL", url)
        watts, origin = source.idle()
    assert watts == pytest.approx((PACKAGE_W + DRAM_W) / CPUS, rel=0.02)
    assert "64 CPUs" in origin
