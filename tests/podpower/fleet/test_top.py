"""What draws most: from the fleet summary, and measured now by a real Prometheus."""

import csv
import io
import json
import time

import polars as pl
import pytest

from podpower.cli import main
from podpower.fleet.folding import fold
from podpower.fleet.hours import ClusterHour, hour_table
from podpower.fleet.summary import write_summary
from podpower.labels.now import idle_w_per_vcpu, watts_now
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.instant import Instant
from tests.clusters.living import living
from tests.clusters.prometheus import need_prometheus

HOUR_S = 3600.0
START_S = 1_790_000_000.0 // HOUR_S * HOUR_S


@pytest.fixture
def store(specs_of, labels_of, predictor, tmp_path, monkeypatch):
    """A store whose fleet summary has a workload of 2 W."""
    one = ClusterHour(
        cluster="a", specs=specs_of({"web": [("web-0", 0.0, None)]}), labels=labels_of("web", [2.0] * 60).lazy()
    )
    summary = fold([hour_table([one], predictor, start_s=START_S, now_s=START_S + HOUR_S)], now_s=START_S + HOUR_S)
    write_summary(tmp_path / "models", summary)
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path))
    return summary


def run(capsys, *arguments):
    code = main(["top", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_workloads_and_namespaces_have_measured_watts_and_the_energy_of_a_month(store, capsys):
    for by in ("workload", "namespace"):
        code, out, _ = run(capsys, "--by", by, "--format", "json", "--price", "0.3")
        (row,) = json.loads(out)["rows"]
        assert code == 0
        assert row["measured_w"] == pytest.approx(2.0, rel=0.1)
        assert row["kwh_month"] == pytest.approx(2.0 * 0.73, rel=0.1)
        assert row["cost_month"] == pytest.approx(0.3 * row["kwh_month"])
        assert row["measured"] is True


def test_the_table_and_csv_have_the_same_rows(store, capsys):
    _, out, _ = run(capsys, "workloads")
    assert "web" in out
    assert "fleet summary of" in out
    _, out, _ = run(capsys, "namespaces", "--format", "csv", "--carbon", "400")
    (row,) = csv.DictReader(io.StringIO(out))
    assert float(row["co2e_kg_month"]) == pytest.approx(0.4 * float(row["kwh_month"]))
    assert "no such" not in out


def test_without_a_summary_the_next_step_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path))
    code, _, said = run(capsys)
    assert code == 1
    assert "podpower up" in said
    assert "--live" in said
    monkeypatch.delenv("PODPOWER_PROMETHEUS_URL", raising=False)
    assert run(capsys, "--live")[0] == 2
    assert run(capsys, "pods")[0] == 2


@pytest.mark.parametrize("kepler", ["0.9", "0.10"])
def test_watts_now_are_the_true_watts(kepler, tmp_path, monkeypatch, capsys):
    need_prometheus()
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    with living(tmp_path, hours=1, kepler=kepler, workloads=12, ahead_s=1200) as lived:
        now_s = time.time()
        code, out, said = run(capsys, "--live", "--prom", lived.prometheus_url, "--format", "json", "--all")
        assert code == 0, said
        rows = json.loads(out)["rows"]
        truth = lived.truth()
        last = truth.filter(pl.col("ts").is_between(now_s - 300, now_s, closed="right"))
        true_w = last["dynamic_j"].sum() / 300
        assert sum(row["measured_w"] for row in rows) == pytest.approx(true_w, rel=0.25)
        assert {"Deployment", "DaemonSet"} <= {row["workload_kind"] for row in rows}
        assert "ReplicaSet" not in {row["workload_kind"] for row in rows}
        measured = [row["measured_w"] for row in rows]
        assert measured == sorted(measured, reverse=True)
        with Instant(Endpoint(url=lived.prometheus_url)) as source:
            assert watts_now(source)
            found = idle_w_per_vcpu(source)
        assert found is None or found[0] > 0
