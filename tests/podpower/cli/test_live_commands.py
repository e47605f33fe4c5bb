"""`label --prom` and `record` against a cluster and a Prometheus that answer."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from podpower.cli import main
from podpower.errors import InvalidInput
from podpower.sources.protocols import Selector
from podpower.sources.recording import Recording
from tests.clusters.living import Living, living
from tests.clusters.prometheus import need_prometheus
from tests.waiting import until


@pytest.fixture(scope="module", params=["0.9", "0.10"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    need_prometheus()
    with living(tmp_path_factory.mktemp("lived"), hours=2, kepler=request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "PODPOWER_PROMETHEUS_URL", "PODPOWER_CLUSTER"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def label(lived: Living, out: Path, *options: object) -> pl.DataFrame:
    start_s, end_s = lived.recording.start_s, lived.recording.end_s
    window = ("--start", start_s, "--end", end_s)
    assert run("label", "--prom", lived.prometheus_url, *window, "--out", out, *options) == 0
    return pl.read_parquet(out)


def test_energy_is_the_true_energy_and_owners_come_from_the_cluster(lived: Living, tmp_path: Path) -> None:
    table = label(lived, tmp_path / "labels.parquet", "--kubeconfig", lived.kubeconfig)
    known = table.drop_nulls("energy_step_j").join(lived.truth(), on=["ts", "namespace", "pod"])
    pods = known.group_by("namespace", "pod").agg(pl.len(), pl.col("energy_step_j", "dynamic_j").sum())
    long = pods.filter(pl.col("len") >= 30)
    assert len(long) > 10
    assert float((long["energy_step_j"] / long["dynamic_j"] - 1).abs().max()) < 0.005  # type: ignore[arg-type]
    assert set(table["cluster"]) == {"test-cluster"}
    # Whatever still lives has the template that made it; of what is gone the owner is known by its series.
    assert table["_spec_hash"].is_not_null().mean() > 0.7  # type: ignore[operator]
    assert "ReplicaSet" not in set(table["workload_kind"])


def test_without_a_cluster_owners_come_from_their_series(lived: Living, tmp_path: Path) -> None:
    by_series = label(lived, tmp_path / "series.parquet")
    by_objects = label(lived, tmp_path / "objects.parquet", "--kubeconfig", lived.kubeconfig)
    assert by_series["_spec_hash"].null_count() == len(by_series)
    keys = ["namespace", "pod", "ts"]
    both = by_objects.drop_nulls("_spec_hash").join(by_series, on=keys, suffix="_series")
    assert (both["workload_name"] == both["workload_name_series"]).mean() > 0.97  # type: ignore[operator]


def test_jobs_are_a_row_a_pod(lived: Living, tmp_path: Path) -> None:
    windows = label(lived, tmp_path / "windows.parquet")
    jobs = label(lived, tmp_path / "jobs.parquet", "--mode", "job")
    # A pod of a StatefulSet that is rolled out comes back under its name: another life, another row.
    assert len(jobs) == jobs.select("namespace", "pod", "start_s").n_unique()
    assert jobs.select("namespace", "pod").n_unique() == windows.select("namespace", "pod").n_unique()
    again = jobs.filter(pl.len().over("namespace", "pod") > 1)
    assert set(again["workload_kind"]) <= {"StatefulSet"}
    assert {"avg_power_w", "total_energy_j"} <= set(jobs.columns)


def test_a_cluster_that_is_away_leaves_the_series(
    lived: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(lived, tmp_path / "labels.parquet", "--kubeconfig", tmp_path / "nowhere")
    assert "owners by kube_*_owner series only: no kubeconfig" in capsys.readouterr().err
    code = run(
        "label", "--prom", lived.prometheus_url, "--kubeconfig", tmp_path / "nowhere", "--owner-source", "k8s",
        "--out", tmp_path / "none.parquet",
    )  # fmt: skip
    assert code == 1
    assert "no kubeconfig" in capsys.readouterr().err
    assert not (tmp_path / "none.parquet").exists()


def test_a_window_without_labels_leaves_no_file(
    lived: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.parquet"
    window = ("--start", "2020-01-01T00:00:00Z", "--end", "2020-01-01T01:00:00Z")
    assert run("label", "--prom", lived.prometheus_url, *window, "--out", out) == 1
    assert "no Kepler metrics in this time range" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--prom", "nonsense"), 1, "not a URL of a Prometheus"),
        ((), 1, "give --prom URL or set PODPOWER_PROMETHEUS_URL"),
        (("--prom", "http://x", "--recording", "y"), 2, "--prom or --recording, not both"),
        (("--prom", "http://x", "--match", "cluster"), 1, "not a label matcher"),
        (("--prom", "http://x", "--start", "now", "--end", "-1h"), 2, "--start must be before --end"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, told: str
) -> None:
    assert run("label", *options, "--out", tmp_path / "x.parquet") == code
    assert told in capsys.readouterr().err


def test_a_recording_of_it_gives_the_same_labels(lived: Living, tmp_path: Path) -> None:
    root = tmp_path / "recorded"
    connections = ("--prom", lived.prometheus_url, "--kubeconfig", lived.kubeconfig)
    assert run("record", "--out", root, *connections, "--start", lived.recording.start_s, "--end", "now") == 0
    recorded = Recording(root)
    assert recorded.meta.kepler == lived.recording.meta.kepler
    assert recorded.cluster == "test-cluster"
    window = ("--start", lived.recording.start_s, "--end", lived.recording.end_s)
    assert run("label", "--recording", root, *window, "--out", tmp_path / "a.parquet") == 0
    ours, theirs = pl.read_parquet(tmp_path / "a.parquet"), label(lived, tmp_path / "b.parquet")
    keys = ["namespace", "pod", "ts"]
    both = ours.drop_nulls("energy_step_j").join(theirs.drop_nulls("energy_step_j"), on=keys, suffix="_live")
    assert len(both) > 0.9 * theirs["energy_step_j"].is_not_null().sum()
    assert (both["energy_step_j"] - both["energy_step_j_live"]).abs().max() < 1e-3  # type: ignore[operator]
    assert ours["_spec_hash"].is_not_null().mean() > 0.7  # type: ignore[operator]


def test_a_damaged_hour_is_recorded_again_by_the_command_that_is_named(
    lived: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "recorded"
    connections = ("--prom", lived.prometheus_url, "--kubeconfig", lived.kubeconfig)
    assert run("record", "--out", root, *connections, "--start", lived.recording.start_s, "--end", "now") == 0
    recorded, window = Recording(root), {"start_s": lived.recording.start_s, "end_s": lived.recording.end_s}
    selectors = [Selector(metric=name) for name in sorted(recorded.metric_names(**window))]
    before = recorded.samples(selectors, **window)
    path = sorted(root.glob("series/*/*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match=f"{path}, partition {path.parent.name}, is damaged") as caught:
        recorded.metric_names(**window)
    command = shlex.split(str(caught.value).partition("again with: podpower ")[2].replace("URL", lived.prometheus_url))
    assert main([*command[:-1], "2020-01-01T00"]) == 1
    assert "has no hour 2020-01-01T00" in capsys.readouterr().err
    assert main(command) == 0
    again = Recording(root).samples(selectors, **window)
    assert_frame_equal(again.points.sort("series_id", "ts"), before.points.sort("series_id", "ts"))
    assert_frame_equal(again.series, before.series)


def test_recording_runs_until_it_is_stopped_and_is_continued(lived: Living, tmp_path: Path) -> None:
    root = tmp_path / "recorded"
    command = [
        sys.executable, "-m", "podpower", "record", "--out", str(root), "--prom", lived.prometheus_url, "--kubeconfig",
        str(lived.kubeconfig), "--start", "-5m", "--every", "1s",
    ]  # fmt: skip
    ends = []
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ})
        before = ends[-1] if ends else 0.0
        until(lambda before=before: (root / "recording.json").exists() and Recording(root).end_s > before)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0
        assert b"events and" in said
        ends.append(Recording(root).end_s)
    assert ends[1] > ends[0]
    assert b"continuing from" in said


def test_a_secret_of_the_cluster_is_not_recorded(lived: Living, tmp_path: Path) -> None:
    secret = {"name": "c", "image": "x", "env": [{"name": "API_TOKEN", "value": "hunter2"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "careless", "namespace": "shop"}}
    stored = lived.cluster.add({**pod, "spec": {"containers": [secret]}})
    connections = ("--prom", lived.prometheus_url, "--kubeconfig", lived.kubeconfig)
    assert run("record", "--out", tmp_path / "recorded", *connections, "--start", "-1m", "--end", "now") == 0
    lived.cluster.delete("Pod", "shop", stored["metadata"]["name"])
    kept = b"".join(path.read_bytes() for path in (tmp_path / "recorded").rglob("*.*") if path.is_file())
    assert b"API_TOKEN" in kept
    assert b"hunter2" not in kept
