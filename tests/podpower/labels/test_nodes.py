"""The sum of pods against the counters of their nodes."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from podpower.labels import LabelRequest, WindowExport
from podpower.labels.nodes import NodeRatio, failed_ratios
from podpower.simulation import simulate
from podpower.simulation.nodes import ATTRIBUTED
from podpower.sources.recording import Recording

START_S = 1767258000.0


@pytest.fixture(params=["0.9", "0.10"])
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Recording:
    simulate(tmp_path / "sim", seed=5, start_s=START_S, hours=1.5, workloads=14, kepler=request.param)
    return Recording(tmp_path / "sim")


def exported(recording: Recording) -> WindowExport:
    export = WindowExport(recording, None, LabelRequest(start_s=recording.start_s, end_s=recording.end_s))
    for _ in export.pieces():
        pass
    return export


HOURS = ("2026-01-01T09", "2026-01-01T10")


def scaled(recording: Recording, metrics: str, factor: float, *, hours: Sequence[str] = HOURS) -> None:
    """Multiply the samples of these metrics in place."""
    for hour in hours:
        named = pl.concat(pl.read_parquet(p) for p in (recording.root / "series" / hour).glob("*.parquet"))
        ids = named.filter(pl.col("metric").str.contains(metrics))["series_id"]
        for path in (recording.root / "samples" / hour).glob("*.parquet"):
            value = pl.when(pl.col("series_id").is_in(ids.implode())).then(pl.col("value") * factor).otherwise("value")
            pl.read_parquet(path).with_columns(value.alias("value")).write_parquet(path)


def test_pods_add_up_to_their_nodes_in_each_hour_and_zone(recording: Recording) -> None:
    report = exported(recording).report
    zones = ["package", "dram"] if recording.meta.kepler == "0.10" else ["platform+gpu"]
    assert [(r.hour, r.zone) for r in report.node_ratios] == [
        (hour, zone) for hour in ("2026-01-01T09", "2026-01-01T10") for zone in sorted(zones)
    ]
    assert [r.ratio for r in report.node_ratios] == pytest.approx([ATTRIBUTED] * len(report.node_ratios), abs=0.01)
    assert failed_ratios(report.node_ratios) == []
    assert not any("add up to" in warning for warning in report.warnings)


def test_pods_that_add_up_to_twice_their_nodes_fail_with_a_warning(recording: Recording) -> None:
    scaled(recording, "^kepler_node_", 0.5)
    report = exported(recording).report
    assert failed_ratios(report.node_ratios) == list(report.node_ratios)
    assert any("pods add up to 1.9" in warning for warning in report.warnings)


def test_each_label_has_the_worst_ratio_of_its_hour(recording: Recording) -> None:
    scaled(recording, "^kepler_node_", 0.5, hours=HOURS[1:])
    # 25 minutes before an hour ends and after, so that pieces of 20 minutes are cut by it.
    request = LabelRequest(start_s=START_S + 2100, end_s=START_S + 5100)
    pieces = list(WindowExport(recording, None, request).pieces())
    labels = pl.concat(pieces)
    assert [float(p["ts"].min()) for p in pieces] == sorted(float(p["ts"].min()) for p in pieces)  # type: ignore[arg-type]
    assert labels["ts"].n_unique() == 50
    first, second = (labels.filter((pl.col("ts") <= START_S + 3600) == own)["node_ratio"] for own in (True, False))
    assert (first.n_unique(), second.n_unique()) == (1, 1)
    assert first[0] == pytest.approx(ATTRIBUTED, abs=0.01)
    assert second[0] < 0.8  # nodes' counters that fall by half are reset ones, and count anew


def test_where_nodes_count_idle_energy_too_only_more_than_all_of_it_fails(recording: Recording) -> None:
    if recording.meta.kepler == "0.9":
        pytest.skip("Kepler 0.9 splits every counter by mode")
    for path in recording.root.glob("series/*/*.parquet"):
        table = pl.read_parquet(path)
        table.filter(pl.col("metric") != "kepler_node_cpu_active_joules_total").write_parquet(path)
    ratios = exported(recording).node_ratios()
    assert ratios
    assert all(ratio.bound and ratio.ratio < 0.9 for ratio in ratios)
    assert failed_ratios(ratios) == []


@pytest.mark.parametrize(("ratio", "bound", "passed"), [
    (0.79, False, False), (0.81, False, True), (1.09, False, True), (1.11, False, False), (0.3, True, True),
    (1.2, True, False),
])  # fmt: skip
def test_a_ratio_within_the_bounds_passes(ratio: float, bound: bool, passed: bool) -> None:
    assert NodeRatio(hour="h", zone="dram", pods_j=ratio * 1e4, nodes_j=1e4, bound=bound).passed is passed


def test_labels_name_their_source(recording: Recording) -> None:
    export = exported(recording)
    expected = {"0.9": "Kepler 0.9.2 all components, dynamic", "0.10": "Kepler 0.11.1 RAPL package+dram+gpu, dynamic"}
    assert export.report.label_source == expected[recording.meta.kepler]
