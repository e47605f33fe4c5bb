"""Which series add up to a pod's energy, in both generations."""

from typing import Any

import polars as pl
import pytest

from podpower.errors import Unavailable
from podpower.labels.kepler import KEPLER_0_9, KEPLER_0_10, detect, pod_series
from podpower.sources.protocols import LABEL_COLUMNS, SERIES_SCHEMA


def series(*rows: dict[str, Any]) -> pl.DataFrame:
    whole = [{"series_id": i, **dict.fromkeys(LABEL_COLUMNS), **row} for i, row in enumerate(rows)]
    return pl.DataFrame(whole, schema=SERIES_SCHEMA)


def new(zone: str | None, metric: str = "kepler_pod_cpu_joules_total", **labels: Any) -> dict[str, Any]:
    given = {"pod_name": "p", "pod_namespace": "n", "pod_id": "u", "node_name": "node", "state": "running"}
    return {"metric": metric, "zone": zone, "namespace": "kepler", "pod": "kepler-x", **given, **labels}


def old(metric: str, mode: str, **labels: Any) -> dict[str, Any]:
    given = {"pod_name": "p", "container_namespace": "n", "container_id": "c"}
    return {"metric": metric, "mode": mode, "namespace": "kepler", "pod": "kepler-x", **given, **labels}


def kept(frame: pl.DataFrame, found: pl.DataFrame, column: str) -> list[Any]:
    return sorted(frame.filter(pl.col("series_id").is_in(found["series_id"].implode()))[column].to_list())


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        (["package", "core", "uncore", "dram", "psys"], ["dram", "package"]),
        (["psys", "dram"], ["dram", "psys"]),
        (["package"], ["package"]),
        (["core", "uncore"], []),
    ],
)
def test_no_joule_is_counted_in_two_zones(zones: list[str], expected: list[str]) -> None:
    frame = series(*(new(zone) for zone in zones))
    assert kept(frame, pod_series(frame, KEPLER_0_10, energy="dynamic"), "zone") == expected


def test_gpu_energy_is_added() -> None:
    frame = series(new("package"), new(None, "kepler_pod_gpu_joules_total"))
    assert len(pod_series(frame, KEPLER_0_10, energy="dynamic")) == 2


def test_the_exporters_own_pod_is_never_taken_for_the_workload() -> None:
    found = pod_series(series(new("package")), KEPLER_0_10, energy="dynamic")
    assert found.select("namespace", "pod").row(0) == ("n", "p")


def test_a_terminated_pods_series_continues_the_running_one() -> None:
    found = pod_series(series(new("package"), new("package", state="terminated")), KEPLER_0_10, energy="dynamic")
    assert found["series"].n_unique() == 1


def test_idle_energy_is_kept_apart_and_components_are_not_added_to_their_total() -> None:
    total, package = "kepler_container_joules_total", "kepler_container_package_joules_total"
    frame = series(old(total, "dynamic"), old(total, "idle"))
    assert kept(frame, pod_series(frame, KEPLER_0_9, energy="dynamic"), "mode") == ["dynamic"]
    assert kept(frame, pod_series(frame, KEPLER_0_9, energy="total"), "mode") == ["dynamic", "idle"]
    assert KEPLER_0_9.metrics({total, package}) == [total]
    assert KEPLER_0_9.metrics({package}) == [package]


def test_the_generation_shows_in_the_names() -> None:
    assert detect({"up", "kepler_pod_cpu_joules_total"}) == [KEPLER_0_10]
    assert detect({"up", "kepler_container_joules_total"}) == [KEPLER_0_9]
    assert detect({"kepler_container_joules_total", "kepler_pod_cpu_joules_total"}) == [KEPLER_0_10, KEPLER_0_9]


def test_a_kepler_without_pods_is_an_error_with_the_setting() -> None:
    with pytest.raises(Unavailable, match=r"kube\.enabled: true"):
        detect({"kepler_node_cpu_joules_total"})
    with pytest.raises(Unavailable, match="no Kepler metrics"):
        detect({"up"})
