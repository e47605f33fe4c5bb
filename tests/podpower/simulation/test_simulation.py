"""A cluster that never was: the same from the same seed, consistent in itself, and going on when it is followed."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl
import pytest

from podpower.errors import InvalidInput
from podpower.simulation import change_workload, follow, simulate
from podpower.sources.protocols import Selector
from podpower.sources.recording import Recording, read_meta
from podpower.sources.writing import RecordingWriter
from podpower.specs.observing import observe

START_S = 1767258000.0
COUNTED = Selector(metric="kepler_container_joules_total")


def digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def small(root: Path, *, seed: int = 1, hours: float = 1, kepler: str = "0.9", workloads: int = 10) -> Path:
    simulate(root, seed=seed, start_s=START_S, hours=hours, kepler=kepler, workloads=workloads)
    return root


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    first, second, other = small(tmp_path / "a"), small(tmp_path / "b"), small(tmp_path / "c", seed=2)
    assert digest(first) == digest(second)
    assert digest(first) != digest(other)


@pytest.mark.parametrize("kepler", ["0.9", "0.10"])
def test_every_owner_resolves_and_every_pod_has_its_template(tmp_path: Path, kepler: str) -> None:
    recording = Recording(small(tmp_path / "r", kepler=kepler, workloads=40))
    events = list(recording.events(start_s=recording.start_s, end_s=recording.end_s))
    observations, rejected = observe(events, start_s=recording.start_s, end_s=recording.end_s)
    assert rejected == []
    kinds = {o.request.workload_kind for o in observations}
    assert kinds == {
        "Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "Rollout", "Node", "Pod", "RayCluster",
    }  # fmt: skip
    uids = {e.object["metadata"]["uid"] for e in events if e.object["kind"] == "Pod"}
    assert uids >= {p.uid for o in observations for p in o.pods}
    assert len(uids) > 60


def test_no_two_pods_of_one_name_run_at_the_same_time(tmp_path: Path) -> None:
    recording = Recording(small(tmp_path / "r", workloads=300, hours=0.5))
    running: dict[tuple[str, str], str] = {}
    for event in recording.events(start_s=recording.start_s, end_s=recording.end_s):
        meta = event.object["metadata"]
        if event.object["kind"] != "Pod":
            continue
        key = meta["namespace"], meta["name"]
        assert running.get(key, meta["uid"]) == meta["uid"], f"{key} is two pods"
        running[key] = meta["uid"]
        if event.type == "DELETED":
            del running[key]


def test_no_secret_of_the_objects_reaches_a_request(tmp_path: Path) -> None:
    root = small(tmp_path / "r")
    assert b"not-a-real-secret" in (root / "objects" / "2026-01-01T09.ndjson").read_bytes()
    recording = Recording(root)
    events = recording.events(start_s=recording.start_s, end_s=recording.end_s)
    observations, _ = observe(events, start_s=recording.start_s, end_s=recording.end_s)
    assert not any("not-a-real-secret" in msgspec.json.encode(o.request).decode() for o in observations)


def test_both_generations_show_what_they_show(tmp_path: Path) -> None:
    old = Recording(small(tmp_path / "old", workloads=14)).metric_names(start_s=START_S, end_s=START_S + 3600)
    new = Recording(small(tmp_path / "new", workloads=14, kepler="0.10")).metric_names(
        start_s=START_S, end_s=START_S + 3600
    )
    owners = {"kube_pod_owner", "kube_replicaset_owner", "kube_job_owner"}
    parts = {f"kepler_container_{p}joules_total" for p in ("", "package_", "dram_", "gpu_", "other_")}
    old_nodes = {f"kepler_node_{p}_joules_total" for p in ("package", "dram", "gpu", "platform")}
    new_nodes = {f"kepler_node_cpu_{p}joules_total" for p in ("", "active_", "idle_")}
    assert old == owners | parts | old_nodes | {"kepler_build_info"}
    assert new == owners | new_nodes | {
        "kepler_pod_cpu_joules_total", "kepler_pod_gpu_joules_total", "kepler_build_info",
    }  # fmt: skip


def test_counters_only_fall_when_an_exporter_restarts(tmp_path: Path) -> None:
    recording = Recording(small(tmp_path / "r", hours=10))
    samples = recording.samples([COUNTED], start_s=START_S, end_s=recording.end_s)
    named = samples.points.filter(pl.col("value").is_not_nan()).join(samples.series, on="series_id")
    falls = named.sort("series_id", "ts").with_columns(fall=pl.col("value").diff().over("series_id") < 0)
    at = falls.filter("fall").group_by("instance", (pl.col("ts") // 60).alias("minute")).len()
    # A restart takes all counters of the node with it.
    assert len(at) > 0
    assert int(at["len"].min()) > 5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kepler": "0.11"}, "unknown Kepler"),
        ({"workloads": 0}, "needs a workload"),
        ({"hours": 0}, "needs a workload, some time"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        small(tmp_path / "r", **arguments)  # type: ignore[arg-type]


def test_a_recording_is_not_written_over(tmp_path: Path) -> None:
    small(tmp_path / "r")
    with pytest.raises(InvalidInput, match="holds a recording already"):
        small(tmp_path / "r")


class Clock:
    """Time that passes by a minute whenever someone waits, until `end`."""

    def __init__(self, now: float, end: float) -> None:
        self.now, self.end = now, end

    def time(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.now += 60.0

    def is_over(self) -> bool:
        return self.now >= self.end


def followed(root: Path, minutes: int, meanwhile: Callable[[], None] = lambda: None) -> Recording:
    end = read_meta(root).end_s
    meanwhile()
    clock = Clock(end, end + 60.0 * minutes)
    follow(root, stop=clock.is_over, clock=clock.time, sleep=clock.sleep)
    return Recording(root)


def test_following_continues_at_the_end_of_the_recording(tmp_path: Path) -> None:
    whole = Recording(small(tmp_path / "whole", hours=1))
    parts = followed(followed(small(tmp_path / "parts", hours=0.5), 16).root, 16)
    window = {"start_s": START_S, "end_s": parts.end_s}
    assert parts.end_s >= START_S + 3480
    assert list(parts.events(**window)) == list(whole.events(**window))
    ours, theirs = (r.samples([COUNTED], **window).points.sort("series_id", "ts") for r in (parts, whole))
    assert ours.equals(theirs)


def test_a_requested_change_is_rolled_out_and_is_still_there_after_a_restart(tmp_path: Path) -> None:
    root = small(tmp_path / "r", hours=0.5)
    _, cursor = Recording(root).changes(None)
    ask = {"namespace": "shop", "kind": "Deployment", "name": "frontend", "image": "nginx:9.9"}
    recording = followed(root, 3, lambda: change_workload(root, **ask))
    changes, cursor = recording.changes(cursor)
    changed = [c for c in changes if c.object["kind"] == "Deployment" and c.object["metadata"]["name"] == "frontend"]
    assert [c.object["spec"]["template"]["spec"]["containers"][0]["image"] for c in changed] == ["nginx:9.9"]
    pods = [c for c in changes if c.object["kind"] == "Pod" and "frontend" in c.object["metadata"]["name"]]
    assert {c.type for c in pods} == {"ADDED", "DELETED"}

    later = followed(root, 60)
    events = later.events(start_s=later.end_s - 60, end_s=later.end_s)
    last = [e for e in events if e.object["kind"] == "Deployment" and e.object["metadata"]["name"] == "frontend"]
    assert last[-1].object["spec"]["template"]["spec"]["containers"][0]["image"].startswith("nginx:")


def test_a_change_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    root = small(tmp_path / "r", hours=0.1)
    with pytest.raises(InvalidInput, match="no Deployment shop/nothing"):
        change_workload(root, namespace="shop", kind="Deployment", name="nothing", image="a")
    with pytest.raises(InvalidInput, match="nothing to change"):
        change_workload(root, namespace="shop", kind="Deployment", name="frontend")


def test_a_recording_of_a_real_cluster_is_not_simulated_on(tmp_path: Path) -> None:
    root = small(tmp_path / "r", hours=0.1)
    RecordingWriter(root).meta(msgspec.structs.replace(read_meta(root), seed=None))
    with pytest.raises(InvalidInput, match="from a real cluster"):
        follow(root, stop=lambda: True)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="no recording"):
        simulate(tmp_path, seed=1, hours=1, workloads=2, start_s=0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
