"""Labels from a real Prometheus, backfilled with the samples of simulated clusters, against their true energy."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from podpower.errors import InvalidInput, Unavailable
from podpower.labels import LabelRequest, Labels, label_jobs, label_windows
from podpower.simulation import simulate
from podpower.sources.prometheus import source as module
from podpower.sources.prometheus.endpoint import Endpoint
from podpower.sources.prometheus.source import Prometheus
from podpower.sources.protocols import Selector
from podpower.sources.recording import Recording
from podpower.specs.observing import observe
from podpower.specs.table import specs_table
from tests.clusters.prometheus import backfill, backfill_recording, need_prometheus, serving

START_S = 1767258000.0
HOURS = 3
END_S = START_S + HOURS * 3600


@dataclass(frozen=True)
class Backfilled:
    recording: Recording
    prometheus: Prometheus

    @property
    def truth(self) -> pl.DataFrame:
        parts = pl.concat(pl.read_parquet(path) for path in self.recording.root.glob("truth/*/*.parquet"))
        return parts.group_by("ts", "namespace", "pod").agg(pl.col("dynamic_j", "idle_j").sum())


@pytest.fixture(scope="module", params=["0.9", "0.10"])
def backfilled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backfilled]:
    need_prometheus()
    folder = tmp_path_factory.mktemp("backfilled")
    simulate(folder / "recording", seed=13, start_s=START_S, hours=HOURS, workloads=40, kepler=request.param)
    backfill_recording(folder / "recording", folder / "tsdb")
    with serving(folder / "tsdb") as url, Prometheus(Endpoint(url=url), cluster="sim") as prometheus:
        yield Backfilled(Recording(folder / "recording"), prometheus)


@pytest.fixture(scope="module")
def labels(backfilled: Backfilled) -> Labels:
    return label_windows(backfilled.prometheus, None, LabelRequest(start_s=START_S, end_s=END_S))


def test_known_energy_of_a_pod_is_the_true_energy_within_half_a_percent(backfilled: Backfilled, labels: Labels) -> None:
    known = labels.table.filter(pl.col("energy_step_j").is_not_null())
    both = known.join(backfilled.truth, on=["ts", "namespace", "pod"])
    assert len(both) == len(known)
    pods = both.group_by("namespace", "pod").agg(pl.len(), pl.col("energy_step_j", "dynamic_j").sum())
    long = pods.filter(pl.col("len") >= 30)
    assert len(long) > 30
    errors = (long["energy_step_j"] / long["dynamic_j"] - 1).abs()
    assert float(errors.max()) < 0.005  # type: ignore[arg-type]


def test_unknown_energy_is_null_with_a_reason(labels: Labels) -> None:
    assert labels.report.known > 0.9 * labels.report.rows
    unknown = labels.table.filter(pl.col("energy_step_j").is_null())
    assert unknown["reason"].null_count() == 0
    assert {"first_step", "last_step", "gap", "counter_reset", "short_lived"} <= set(unknown["reason"])
    partial = unknown.drop_nulls("avg_power_w")
    assert len(partial) > 0.5 * len(unknown)
    assert partial["known_s"].is_between(0.0, 60.0, closed="none").all()


def test_prometheus_gives_the_labels_that_its_recording_gives(backfilled: Backfilled, labels: Labels) -> None:
    recorded = label_windows(backfilled.recording, None, LabelRequest(start_s=START_S, end_s=END_S))
    assert_frame_equal(labels.table, recorded.table, rel_tol=1e-6)


def test_total_adds_the_idle_share_where_there_is_one(backfilled: Backfilled, labels: Labels) -> None:
    total = label_windows(backfilled.prometheus, None, LabelRequest(start_s=START_S, end_s=END_S, energy="total"))
    if backfilled.recording.meta.kepler == "0.10":
        assert "attributes no idle energy" in " ".join(total.report.warnings)
        assert total.report.total_energy_j == pytest.approx(labels.report.total_energy_j)
        return
    known = total.table.drop_nulls("energy_step_j").join(backfilled.truth, on=["ts", "namespace", "pod"])
    ratio = known["energy_step_j"].sum() / (known["dynamic_j"] + known["idle_j"]).sum()
    assert ratio == pytest.approx(1.0, abs=0.005)


def test_prometheus_gives_the_jobs_that_its_recording_gives(backfilled: Backfilled) -> None:
    recording, request = backfilled.recording, LabelRequest(start_s=START_S, end_s=END_S)
    observations, _ = observe(recording.events(start_s=START_S, end_s=END_S), start_s=START_S, end_s=END_S)
    specs = specs_table(observations)
    jobs, recorded = (label_jobs(source, specs, request).table for source in (backfilled.prometheus, recording))
    assert len(jobs) > 60
    assert_frame_equal(jobs, recorded, rel_tol=1e-6)


def test_owners_are_those_that_the_objects_know(backfilled: Backfilled, labels: Labels) -> None:
    recording = backfilled.recording
    observations, _ = observe(recording.events(start_s=START_S, end_s=END_S), start_s=START_S, end_s=END_S)
    by_objects = label_windows(
        backfilled.prometheus, specs_table(observations), LabelRequest(start_s=START_S, end_s=END_S)
    )
    keys = ["namespace", "pod", "ts"]
    both = by_objects.table.drop_nulls("_spec_hash").join(labels.table, on=keys, suffix="_series")
    assert len(both) > 0.95 * len(labels.table)
    for column in ("workload_kind", "workload_name"):
        assert float((both[column] == both[f"{column}_series"]).mean()) > 0.97  # type: ignore[arg-type]


def test_a_range_gives_the_same_samples_however_it_is_split(
    backfilled: Backfilled, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = sorted(
        m
        for m in backfilled.recording.metric_names(start_s=START_S, end_s=END_S)
        if "joules" in m and "_node_" not in m
    )[0]
    asked = {"start_s": START_S, "end_s": START_S + 1800}
    whole = backfilled.prometheus.samples([Selector(metric=metric)], **asked)
    monkeypatch.setattr(module, "MAX_SAMPLES", 500)
    parts = backfilled.prometheus.samples([Selector(metric=metric)], **asked)
    order = ["series_id", "ts"]
    assert len(whole.points) > 3000
    assert_frame_equal(parts.points.unique().sort(order), whole.points.sort(order))


def test_a_server_that_refuses_so_many_samples_gets_smaller_queries(backfilled: Backfilled, tmp_path: Path) -> None:
    backfill_recording(backfilled.recording.root, tmp_path / "tsdb")
    with serving(tmp_path / "tsdb", "--query.max-samples=20000") as url, Prometheus(Endpoint(url=url)) as narrow:
        few = label_windows(narrow, None, LabelRequest(start_s=START_S, end_s=START_S + 3600))
    many = label_windows(backfilled.prometheus, None, LabelRequest(start_s=START_S, end_s=START_S + 3600))
    assert_frame_equal(few.table.drop("cluster"), many.table.drop("cluster"))


def test_a_time_without_kepler_is_an_error(backfilled: Backfilled) -> None:
    with pytest.raises(Unavailable, match="no Kepler metrics in this time range"):
        label_windows(backfilled.prometheus, None, LabelRequest(start_s=1e9, end_s=1e9 + 600))


class Text:
    """OpenMetrics text of a few series, each growing by `watts` from `begin_s` on."""

    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def counter(
        self, metric: str, labels: dict[str, str], *, watts: float, begin_s: float = START_S - 900, end_s: float = END_S
    ) -> None:
        self._add(metric, labels, begin_s, end_s, lambda ts: 1000.0 + watts * (ts - begin_s))

    def owner(
        self, pod: str, kind: str, name: str, *, uid: str, begin_s: float = START_S, end_s: float = END_S,
        **more: str,
    ) -> None:  # fmt: skip
        labels = {"namespace": "shop", "pod": pod, "uid": uid, "owner_kind": kind, "owner_name": name, **more}
        self._add("kube_pod_owner", labels, begin_s, end_s, lambda _: 1.0)

    def _add(self, metric: str, labels: dict[str, str], begin_s: float, end_s: float, value) -> None:  # type: ignore[no-untyped-def]
        named = ",".join(f'{k}="{v}"' for k, v in labels.items())
        ts = begin_s
        while ts <= end_s:
            self._families.setdefault(metric, []).append(f"{metric}{{{named}}} {value(ts):.3f} {ts:.3f}")
            ts += 30.0

    def serve(self, folder: Path):  # type: ignore[no-untyped-def]
        need_prometheus()
        text = folder / "text.om"
        text.write_text("\n".join(line for family in self._families.values() for line in family) + "\n# EOF\n")
        backfill(text, folder / "tsdb")
        return serving(folder / "tsdb")


def pod_labels(pod: str, *, zone: str = "package", **more: str) -> dict[str, str]:
    exporter = {"namespace": "kepler", "pod": "kepler-0", "instance": "10.0.0.1:9102", "node_name": "n1"}
    return {**exporter, "pod_namespace": "shop", "pod_name": pod, "pod_id": pod, "zone": zone, **more}


def old_labels(pod: str, *, mode: str = "dynamic", **more: str) -> dict[str, str]:
    exporter = {"namespace": "kepler", "pod": "kepler-0", "instance": "10.0.0.1:9102"}
    names = {"pod_name": pod, "container_namespace": "shop", "container_name": "c", "container_id": f"{pod}-c"}
    return {**exporter, **names, "mode": mode, **more}


CPU = "kepler_pod_cpu_joules_total"
HOUR = LabelRequest(start_s=START_S, end_s=START_S + 3600)


def watts_of(url: str, **endpoint: object) -> dict[str, float]:
    with Prometheus(Endpoint(url=url, **endpoint)) as prometheus:  # type: ignore[arg-type]
        table = label_windows(prometheus, None, HOUR).table
    return dict(table.group_by("pod").agg(pl.col("avg_power_w").mean()).iter_rows())


def test_zones_that_hold_each_other_are_counted_once(tmp_path: Path) -> None:
    text = Text()
    for zone, watts in {"package": 10.0, "core": 7.0, "uncore": 1.0, "dram": 2.0, "psys": 15.0}.items():
        text.counter(CPU, pod_labels("server", zone=zone), watts=watts)
    for zone, watts in {"psys": 20.0, "core": 9.0}.items():
        text.counter(CPU, pod_labels("laptop", zone=zone), watts=watts)
    text.counter("kepler_pod_gpu_joules_total", pod_labels("server", zone="") | {"gpu": "0"}, watts=100.0)
    with text.serve(tmp_path) as url:
        assert watts_of(url) == {"server": pytest.approx(112.0), "laptop": pytest.approx(20.0)}


def test_an_upgrade_of_kepler_within_the_range_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    text = Text()
    text.counter("kepler_container_joules_total", old_labels("web"), watts=5.0, end_s=START_S + 2400)
    text.counter(CPU, pod_labels("web"), watts=5.0, begin_s=START_S + 1200)
    with text.serve(tmp_path) as url, Prometheus(Endpoint(url=url)) as prometheus:
        labels = label_windows(prometheus, None, HOUR)
    assert labels.report.generation == "0.10 and 0.9"
    assert labels.table["avg_power_w"].to_list() == pytest.approx([5.0] * 60)


def test_a_name_that_is_used_again_belongs_to_one_owner_at_a_time(tmp_path: Path) -> None:
    text = Text()
    text.counter(CPU, pod_labels("runner", pod_id="a"), watts=3.0, end_s=START_S + 1500)
    text.counter(CPU, pod_labels("runner", pod_id="b"), watts=9.0, begin_s=START_S + 2000)
    text.owner("runner", "StatefulSet", "first", uid="a", end_s=START_S + 1500)
    text.owner("runner", "StatefulSet", "second", uid="b", begin_s=START_S + 2000)
    with text.serve(tmp_path) as url, Prometheus(Endpoint(url=url)) as prometheus:
        table = label_windows(prometheus, None, HOUR).table.drop_nulls("avg_power_w")
    watts = table.group_by("workload_name").agg(pl.col("avg_power_w").mean()).sort("workload_name")
    assert watts.rows() == [("first", pytest.approx(3.0)), ("second", pytest.approx(9.0))]


def test_owner_series_that_were_scraped_without_honor_labels_are_understood(tmp_path: Path) -> None:
    text = Text()
    text.counter(CPU, pod_labels("web-0"), watts=3.0)
    exported = {"namespace": "monitoring", "exported_namespace": "shop", "exported_pod": "web-0"}
    text.owner("kube-state-metrics-1", "StatefulSet", "web", uid="a", **exported)
    with text.serve(tmp_path) as url, Prometheus(Endpoint(url=url)) as prometheus:
        table = label_windows(prometheus, None, HOUR).table
    assert set(table["workload_name"]) == {"web"}
    assert set(table["namespace"]) == {"shop"}


def test_counters_that_are_all_zero_are_called_so(tmp_path: Path) -> None:
    text = Text()
    text.counter(CPU, pod_labels("web-0"), watts=0.0)
    with text.serve(tmp_path) as url, Prometheus(Endpoint(url=url)) as prometheus:
        report = label_windows(prometheus, None, HOUR).report
    assert report.all_zero
    assert "no hardware counters" in " ".join(report.warnings)


def test_a_kepler_without_pods_is_an_error_with_the_setting(tmp_path: Path) -> None:
    text = Text()
    text.counter("kepler_node_cpu_joules_total", {"node_name": "n1", "zone": "package"}, watts=90.0)
    with text.serve(tmp_path) as url, pytest.raises(Unavailable, match=r"kube\.enabled: true"):
        watts_of(url)


def test_several_clusters_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    text = Text()
    text.counter(CPU, pod_labels("web", cluster="north"), watts=3.0)
    text.counter(CPU, pod_labels("web", cluster="south"), watts=5.0)
    with text.serve(tmp_path) as url:
        with pytest.raises(InvalidInput, match=r"several clusters .*--match 'cluster=\"south\"'"):
            watts_of(url)
        assert watts_of(url, match=('cluster="north"',)) == {"web": pytest.approx(3.0)}


def test_a_replica_that_scrapes_the_same_exporter_adds_nothing(tmp_path: Path) -> None:
    text = Text()
    for replica in ("a", "b"):
        text.counter(CPU, pod_labels("web", prometheus_replica=replica), watts=4.0)
    with text.serve(tmp_path) as url:
        assert watts_of(url) == {"web": pytest.approx(4.0)}
