"""`podpower doctor` in a home that reads a recording, as that of a simulated cluster."""

import json
import os
import time
from pathlib import Path

import polars as pl
import pytest

from podpower.cli import main
from podpower.doctor import Finding
from podpower.doctor_recordings import examine_recording
from podpower.io.parquet import write_parquet
from podpower.io.places import place
from podpower.io.retries import Retries
from podpower.settings import HOME, PROMETHEUS_URL
from podpower.simulation import simulate

HOURS = 0.2


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    start_s = time.time() - HOURS * 3600
    simulate(tmp_path / "recording", seed=1, start_s=start_s, hours=HOURS, workloads=3)
    return tmp_path / "recording"


def test_a_running_simulation_is_well(root: Path) -> None:
    found = by_check(examine_recording(root))
    assert {check: one.state for check, one in found.items()} == dict.fromkeys(
        ("recording", "kepler", "energy", "scrapes"), "ok"
    )
    assert "podpower doctor --prom" in found["recording"].fix


def test_one_that_stopped_is_named_with_the_command_that_continues_it(root: Path) -> None:
    found = by_check(examine_recording(root, now_s=time.time() + 3600))["recording"]
    assert found.state == "warn"
    assert f"podpower simulate --out {root} --follow" in found.fix


def test_a_recording_whose_counters_do_not_count_fails(root: Path) -> None:
    for path in (root / "samples").rglob("*.parquet"):
        write_parquet(pl.read_parquet(path).with_columns(pl.lit(0.0).alias("value")), place(path))
    assert by_check(examine_recording(root))["energy"].state == "fail"


def test_a_damaged_recording_is_a_finding(root: Path) -> None:
    (root / "recording.json").write_text("{")
    found = examine_recording(root)
    assert [(one.check, one.state) for one in found] == [("recording", "fail")]


def test_the_command_looks_at_the_recording_of_the_home(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PROMETHEUS_URL, raising=False)
    monkeypatch.setenv(HOME, os.fspath(root.parent))
    assert main(["doctor", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["check"] == "recording"


def test_a_named_prometheus_is_looked_at_in_its_place(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME, os.fspath(root.parent))
    monkeypatch.setattr("podpower.sources.prometheus.http._RETRIES", Retries(attempts=1))
    assert main(["doctor", "--prom", "http://127.0.0.1:9", "--format", "json"]) == 1
    assert "recording" not in {one["check"] for one in json.loads(capsys.readouterr().out)}
