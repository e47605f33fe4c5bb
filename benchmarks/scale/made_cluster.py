"""A made cluster of any size and length, as its collector and its Prometheus have it: a journal and a TSDB.

Long-lived pods run in Deployments of five; beside them, each hour starts the pods of CronJobs, which end after ten
minutes. Kepler 0.10 counts two zones of each pod, and is scraped every minute. The simulation has more events in it; it
would take an hour to make a month.
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from podpower.hours import DAY_S, HOUR_S, hour_name, hour_starts
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import (
    META,
    Header,
    JournalMeta,
    encode_part,
    event_line,
    events_name,
    flush_name,
    sealed,
    snapshot_name,
)

SCRAPE_S, RUN_S = 60.0, 600.0
PODS_A_WORKLOAD, PODS_A_NODE, NAMESPACES, CRON_JOBS = 5, 50, 20, 10
ZONES = {"package": 1.0, "dram": 0.2}  # share of a pod's watts
SOFTWARE = ("nginx", "redis", "postgres", "shop/cart", "shop/search", "acme/worker", "grafana/grafana", "apache/kafka")
_MARGIN_S = 900.0  # of samples before the first hour and after the last
_BEFORE_S = 3600.0  # how long the pods ran before the journal begins
_PODS_A_RUN = 20  # in each hour, one run of a CronJob for so many pods


@dataclass(frozen=True, kw_only=True)
class MadeCluster:
    """Size, start (Unix seconds, a full hour) and length of a made cluster."""

    pods: int
    hours: int
    start_s: float

    @property
    def end_s(self) -> float:
        """Return the end (Unix seconds)."""
        return self.start_s + self.hours * HOUR_S

    @property
    def runs_an_hour(self) -> int:
        """Return how many pods of CronJobs start in an hour."""
        return max(1, self.pods // _PODS_A_RUN)

    def node(self, number: int) -> str:
        """Return the node of a pod."""
        return f"node-{number % max(1, self.pods // PODS_A_NODE)}"


def made(folder: Path, cluster: MadeCluster, *, note: Any = lambda _line: None) -> MadeCluster:
    """Make the journal and the TSDB of a cluster in `folder`, unless those of one as large are there; return it."""
    done = folder / "cluster.json"
    if done.exists():
        present = MadeCluster(**json.loads(done.read_text()))
        if present.pods == cluster.pods and present.hours >= cluster.hours:
            return replace(present, hours=cluster.hours)
        raise SystemExit(f"error: {folder} has another cluster: {present}")
    folder.mkdir(parents=True, exist_ok=True)
    write_journal(folder / "journal", cluster)
    for first_s in np.arange(cluster.start_s - _MARGIN_S, cluster.end_s + _MARGIN_S, DAY_S):
        note(f"making samples of {datetime.fromtimestamp(first_s, UTC):%Y-%m-%d %H:%M}")
        write_blocks(
            folder / "tsdb", cluster, start_s=float(first_s), end_s=min(first_s + DAY_S, cluster.end_s + _MARGIN_S)
        )
    done.write_text(json.dumps(asdict(cluster)))
    return cluster


def write_journal(folder: Path, cluster: MadeCluster) -> None:
    """Write the journal, each hour compacted, as its collector would have."""
    files = JournalFiles(folder)
    alive = [event_line(cluster.start_s, "ADDED", obj) for obj in standing_objects(cluster)]
    sequence = 0
    for hour_s in hour_starts(cluster.start_s, cluster.end_s):
        hour, sequence = hour_name(hour_s), sequence + 1
        begin = Header(kind="snapshot", hour=hour, sequence=sequence - 1, reached_s=hour_s)
        files.create(snapshot_name(hour), encode_part(begin, alive))
        lines = [event_line(ts, kind, obj) for ts, kind, obj in run_events(cluster, hour_s)]
        ended = Header(
            kind="events", hour=hour, sequence=sequence, reached_s=hour_s + HOUR_S, parts=[(sequence, len(lines))]
        )
        files.create(events_name(hour), encode_part(ended, lines))
    running, sequence = hour_name(cluster.end_s), sequence + 1
    begin = Header(kind="snapshot", hour=running, sequence=sequence - 1, reached_s=cluster.end_s)
    files.create(snapshot_name(running), encode_part(begin, alive))
    flush = Header(kind="flush", hour=running, sequence=sequence, reached_s=cluster.end_s, closed=True)
    files.create(flush_name(sequence), encode_part(flush, []))
    meta = JournalMeta(journal_id=str(uuid.UUID(int=cluster.pods)), cluster="made", start_s=cluster.start_s)
    files.create(META, sealed(meta))


def standing_objects(cluster: MadeCluster) -> Iterator[dict[str, Any]]:
    """Yield the objects that are there all the time, owners first."""
    since_s = cluster.start_s - _BEFORE_S
    workloads = -(-cluster.pods // PODS_A_WORKLOAD)
    for number in range(workloads):
        yield _object("Deployment", f"app-{number}", number, since_s, spec=_deployment_spec(number))
    for number in range(CRON_JOBS):
        template = {"spec": {"template": _template(number, restart="Never")}}
        yield _object(
            "CronJob", f"cron-{number}", number, since_s, spec={"schedule": "0 * * * *", "jobTemplate": template}
        )
    for number in range(workloads):
        owner = ("Deployment", f"app-{number}")
        spec = _deployment_spec(number)
        yield _object("ReplicaSet", f"app-{number}-7d9c5b6f48", number, since_s, owner=owner, spec=spec)
    for pod in range(cluster.pods):
        number = pod // PODS_A_WORKLOAD
        owner = ("ReplicaSet", f"app-{number}-7d9c5b6f48")
        spec = {**_template(number)["spec"], "nodeName": cluster.node(pod)}
        yield _object("Pod", pod_name(pod), number, since_s, owner=owner, spec=spec, status={"phase": "Running"})


def run_events(cluster: MadeCluster, hour_s: float) -> list[tuple[float, Any, dict[str, Any]]]:
    """Return what an hour's pods of CronJobs did, in the order of time."""
    started, ended = [], []
    for run in range(cluster.runs_an_hour):
        cron, at_s, name = run % CRON_JOBS, hour_s + 120.0 + run % 60, run_name(hour_s, run)
        job = _object("Job", name, cron, at_s, owner=("CronJob", f"cron-{cron}"), spec={"template": _template(cron)})
        spec = {**_template(cron, restart="Never")["spec"], "nodeName": cluster.node(run)}

        def pod(phase: str, name: str = name, cron: int = cron, at_s: float = at_s, spec: Any = spec) -> dict[str, Any]:
            return _object("Pod", name, cron, at_s, owner=("Job", name), spec=spec, status={"phase": phase})

        started += [(at_s, "ADDED", job), (at_s + 1.0, "ADDED", pod("Running"))]
        end_s = at_s + 1.0 + RUN_S
        ended += [
            (end_s, "MODIFIED", pod("Succeeded")),
            (end_s + 300.0, "DELETED", pod("Succeeded")),
            (end_s + 300.0, "DELETED", job),
        ]
    return sorted([*started, *ended], key=lambda event: event[0])


def write_blocks(data: Path, cluster: MadeCluster, *, start_s: float, end_s: float) -> None:
    """Add the samples of a time range, up to a day, to the TSDB."""
    text = data.with_suffix(".om")
    with text.open("wb") as out:
        for zone, share in ZONES.items():
            _write_pods(out, cluster, zone, share, start_s=start_s, end_s=end_s)
        for zone, share in ZONES.items():
            _write_nodes(out, cluster, zone, share, start_s=start_s, end_s=end_s)
        out.write(b"# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=24h"]
    subprocess.run([*command, text, data], check=True, capture_output=True)
    text.unlink()


def pod_name(pod: int) -> str:
    """Return the name of a pod that runs all the time."""
    return f"app-{pod // PODS_A_WORKLOAD}-7d9c5b6f48-{pod:05d}"


def run_name(hour_s: float, run: int) -> str:
    """Return the name of a CronJob's Job of an hour, which its pod has too."""
    return f"cron-{run % CRON_JOBS}-{int(hour_s // 60)}-{run:04d}"


def watts(cluster: MadeCluster) -> Any:
    """Return the mean power of each pod: alike within a workload."""
    rng = np.random.default_rng(1)
    of_workload = rng.lognormal(0.5, 0.8, -(-cluster.pods // PODS_A_WORKLOAD))
    return of_workload[np.arange(cluster.pods) // PODS_A_WORKLOAD] * rng.lognormal(0.0, 0.05, cluster.pods)


def _write_pods(out: IO[bytes], cluster: MadeCluster, zone: str, share: float, *, start_s: float, end_s: float) -> None:
    ts = np.arange(start_s, end_s, SCRAPE_S)
    power_w, begin_s = watts(cluster) * share, cluster.start_s - _BEFORE_S
    for pod in range(cluster.pods):
        series = _series("kepler_pod_cpu_joules_total", cluster, pod, pod_name(pod), pod // PODS_A_WORKLOAD, zone)
        _write(out, series, ts, _joules(power_w[pod], ts - begin_s, pod))
    for hour_s in hour_starts(max(start_s, cluster.start_s), min(end_s, cluster.end_s)):
        for run in range(cluster.runs_an_hour):
            began_s = hour_s + 121.0 + run % 60
            scrapes = np.arange(-(-began_s // SCRAPE_S) * SCRAPE_S, began_s + RUN_S, SCRAPE_S)
            series = _series("kepler_pod_cpu_joules_total", cluster, run, run_name(hour_s, run), run % CRON_JOBS, zone)
            _write(out, series, scrapes, _joules(5.0 * share, scrapes - began_s, run))


def _write_nodes(
    out: IO[bytes], cluster: MadeCluster, zone: str, share: float, *, start_s: float, end_s: float
) -> None:
    ts = np.arange(start_s, end_s, SCRAPE_S)
    nodes = [cluster.node(pod) for pod in range(cluster.pods)]
    power_w = pl.DataFrame({"node": nodes, "w": watts(cluster) * share}).group_by("node").agg(pl.col("w").sum())
    for node, node_w in power_w.sort("node").iter_rows():
        series = f'kepler_node_cpu_active_joules_total{{instance="{node}:28282",node_name="{node}",zone="{zone}"}}'
        _write(out, series, ts, _joules(node_w, ts - cluster.start_s + _BEFORE_S, 0))


def _joules(power_w: float, seconds: Any, phase: int) -> Any:
    """Return a counter of a power that swings by a third with a period of two hours."""
    swing = np.cos(phase) - np.cos(seconds * (2 * np.pi / 7200.0) + phase)
    return (power_w * (seconds + 380.0 * swing)).round(3)


def _series(metric: str, cluster: MadeCluster, pod: int, name: str, workload: int, zone: str) -> str:
    node = cluster.node(pod)
    return (
        f'{metric}{{instance="{node}:28282",node_name="{node}",pod_id="{_uid("Pod", name)}",pod_name="{name}",'
        f'pod_namespace="team-{workload % NAMESPACES}",state="running",zone="{zone}"}}'
    )


def _write(out: IO[bytes], series: str, ts: Any, values: Any) -> None:
    pl.DataFrame({"series": series, "value": values, "ts": ts}).write_csv(
        out, include_header=False, separator=" ", quote_style="never"
    )


def _uid(kind: str, name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind}/{name}"))


def _object(
    kind: str, name: str, number: int, since_s: float, *, owner: tuple[str, str] | None = None, **body: Any
) -> dict[str, Any]:
    api = {"Pod": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}
    uid = _uid(kind, name)
    metadata: dict[str, Any] = {
        "name": name, "namespace": f"team-{number % NAMESPACES}", "uid": uid, "labels": {"app": f"app-{number}"},
        "resourceVersion": f"{int(since_s)}",
        "creationTimestamp": f"{datetime.fromtimestamp(since_s, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip
    if owner:
        reference = {"apiVersion": api.get(owner[0], "apps/v1"), "kind": owner[0], "name": owner[1]}
        metadata["ownerReferences"] = [{**reference, "uid": _uid(*owner), "controller": True}]
    return {"apiVersion": api.get(kind, "apps/v1"), "kind": kind, "metadata": metadata, **body}


def _template(number: int, **spec: str) -> dict[str, Any]:
    resources = {"requests": {"cpu": f"{50 * (1 + number % 40)}m", "memory": f"{64 * (1 + number % 16)}Mi"}}
    container = {"name": "main", "image": f"{SOFTWARE[number % len(SOFTWARE)]}:{number % 7}", "resources": resources}
    policy = {"restartPolicy": spec["restart"]} if spec else {}
    return {"metadata": {"labels": {"app": f"app-{number}"}}, "spec": {"containers": [container], **policy}}


def _deployment_spec(number: int) -> dict[str, Any]:
    labels = {"matchLabels": {"app": f"app-{number}"}}
    return {"replicas": PODS_A_WORKLOAD, "selector": labels, "template": _template(number)}
