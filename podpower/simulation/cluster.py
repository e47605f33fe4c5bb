"""The simulated cluster minute by minute: what is rolled out, scaled, started, ended and restarted."""

from collections.abc import Iterator

import numpy as np

from podpower.kubernetes.types import EventType
from podpower.simulation import objects
from podpower.simulation.catalogue import planned
from podpower.simulation.objects import Object
from podpower.simulation.workloads import Pod, Workload
from podpower.sources.protocols import ObjectEvent

MINUTE_S = 60.0
_BEFORE_S = 86_400.0  # what runs at the beginning was made a day before
# How often things happen, an hour and a workload, a pod or a node.
_ROLLOUTS, _SCALINGS, _POD_LOSSES, _CONTAINER_RESTARTS = 0.03, 0.03, 0.01, 0.03
_EXPORTER_RESTARTS, _SCRAPE_GAPS = 0.04, 0.06
_KEPT_JOB_SECONDS = 300.0  # ttlSecondsAfterFinished
_ROLLED_OUT = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Rollout"})
_SCALED = frozenset({"Deployment", "StatefulSet", "Rollout"})


class Cluster:
    """`minute` moves it on; what changed is in the events it gives. All chance comes from the seed and the minute."""

    def __init__(self, *, seed: int, workloads: int, start_s: float) -> None:
        self.seed = seed
        self.start_s = start_s
        self.nodes = [f"node-{n + 1}" for n in range(max(3, -(-workloads // 20)))]
        rng = np.random.default_rng([seed, 1])
        self.workloads = [
            Workload(
                plan=plan,
                factor=float(rng.lognormal(0.0, 0.25)),
                image=f"{plan.software.image}:{plan.software.tag}",
                cpu_mcpu=plan.software.cpu_mcpu,
                replicas=len(self.nodes) if plan.kind == "DaemonSet" else plan.replicas,
            )
            for plan in planned(workloads, rng)
        ]
        self.alive: dict[str, ObjectEvent] = {}
        self.restarted_containers: list[Pod] = []  # in the present minute
        self.restarted_exporters: set[int] = set()
        self.unscraped: dict[int, float] = {}  # node -> until when its exporter is not scraped
        self._leaving: list[tuple[float, Object]] = []  # objects to delete at a time

    def begin(self) -> list[ObjectEvent]:
        """Return the cluster as it is found at the start: objects made before it."""
        ts = self.start_s - _BEFORE_S
        found: list[ObjectEvent] = []
        for workload in self.workloads:
            found += self._written(workload.deploy(ts), ts, "ADDED")
            if workload.plan.kind != "CronJob":
                found += self._filled(workload, ts)
        for workload in self.workloads:
            for pod in workload.pods:
                if workload.plan.runs_seconds:
                    pod.end_s = self.start_s + workload.plan.runs_seconds * workload.factor
        # An initial list gives everything at once, at the time of the list.
        return [ObjectEvent(ts=self.start_s, type="ADDED", object=event.object) for event in found]

    def pods(self) -> Iterator[Pod]:
        """Pods that run, in a fixed order."""
        for workload in self.workloads:
            yield from workload.pods

    def minute(self, ts: float, changes: list[tuple[Workload, dict[str, object]]]) -> list[ObjectEvent]:
        """Simulate the minute that begins at `ts`; `changes` are requested rollouts."""
        rng = np.random.default_rng([self.seed, 2, int(ts // MINUTE_S)])
        events = self._left(ts)
        self.restarted_containers, self.restarted_exporters = [], set()
        for workload, change in changes:
            events += self._rollout(workload, ts + 1.0, change, rng)
        for workload in self.workloads:
            events += self._routine(workload, ts, rng)
        for node in range(len(self.nodes)):
            if rng.random() < _EXPORTER_RESTARTS / 60:
                self.restarted_exporters.add(node)
            if rng.random() < _SCRAPE_GAPS / 60:
                self.unscraped[node] = ts + float(rng.uniform(90, 480))
        events.sort(key=lambda event: event.ts)
        return events

    def find(self, namespace: str, kind: str, name: str) -> Workload | None:
        """Return the workload of these names."""
        return next((w for w in self.workloads if w.key == (namespace, kind, name)), None)

    def _routine(self, workload: Workload, ts: float, rng: np.random.Generator) -> list[ObjectEvent]:
        plan, events = workload.plan, list[ObjectEvent]()
        chance = rng.random(4)
        if plan.kind == "CronJob":
            if int(ts // MINUTE_S) % plan.every_minutes == 0:
                events += self._start_job(workload, ts + 2.0, rng)
        elif plan.kind in _ROLLED_OUT:
            if chance[0] < _ROLLOUTS / 60:
                events += self._rollout(workload, ts + float(rng.uniform(0, 50)), {}, rng)
            elif plan.kind in _SCALED and chance[1] < _SCALINGS / 60:
                events += self._scale(
                    workload, ts + float(rng.uniform(0, 50)), max(1, workload.replicas + int(rng.choice([-1, 1])))
                )
            elif chance[2] < _POD_LOSSES / 60 and workload.pods:
                lost = workload.pods[int(rng.integers(len(workload.pods)))]
                at = ts + float(rng.uniform(0, 50))
                if lost.start_s < ts:
                    events += self._ended(lost, at, deleted=True) + self._filled(workload, at + 2.0)
        if workload.pods and chance[3] < _CONTAINER_RESTARTS / 60:
            pod = workload.pods[int(rng.integers(len(workload.pods)))]
            if pod.start_s < ts and pod.end_s > ts + MINUTE_S:
                pod.restarts += 1
                self.restarted_containers.append(pod)
        for pod in [p for p in workload.pods if p.end_s < ts + MINUTE_S and p.workload.plan.runs_seconds]:
            events += self._ended(pod, pod.end_s, deleted=False)
        return events

    def _rollout(
        self, workload: Workload, ts: float, change: dict[str, object], rng: np.random.Generator
    ) -> list[ObjectEvent]:
        """Return a new revision: the template changes, and pods are replaced one after another."""
        workload.revision += 1
        workload.revision_factor *= float(rng.lognormal(0.0, 0.35))
        if "image" in change:
            workload.image = str(change["image"])
        elif not change:
            workload.image = f"{workload.plan.software.image}:{workload.plan.software.tag}-r{workload.revision}"
        if change.get("cpu_mcpu") is not None:
            workload.cpu_mcpu = int(str(change["cpu_mcpu"]))
        old_direct = workload.direct
        written = workload.deploy(ts)
        events = self._written(written, ts, "MODIFIED", first_only=True)
        for number, pod in enumerate([p for p in workload.pods if p.end_s > ts]):
            at = ts + 3.0 + 4.0 * number
            events += self._ended(pod, at, deleted=True) + self._filled(workload, at + 1.0)
        if old_direct is not None and old_direct["kind"] == "ReplicaSet":
            self._leaving.append((ts + 1800.0, old_direct))
        return events

    def _scale(self, workload: Workload, ts: float, replicas: int) -> list[ObjectEvent]:
        workload.replicas = replicas
        events = self._written(workload.deploy(ts), ts, "MODIFIED")
        for pod in workload.pods[replicas:]:
            events += self._ended(pod, ts + 2.0, deleted=True)
        return events + self._filled(workload, ts + 2.0)

    def _filled(self, workload: Workload, ts: float) -> list[ObjectEvent]:
        """Pods until there are as many as there should be."""
        events = list[ObjectEvent]()
        running = [p for p in workload.pods if p.end_s > ts or p.workload.plan.runs_seconds]
        taken = {p.name.rpartition("-")[2] for p in running}
        ordinals = (n for n in range(workload.replicas) if str(n) not in taken)
        for _ in range(workload.replicas - len(running)):
            ordinal = next(ordinals, 0)
            node = (
                ordinal
                if workload.plan.kind == "DaemonSet"
                else (workload.made + len(workload.plan.name)) % len(self.nodes)
            )
            if workload.plan.kind == "DaemonSet":
                used = {p.node for p in running}
                node = next(n for n in range(len(self.nodes)) if n not in used)
            pod = workload.make_pod(ts, node=node, node_name=self.nodes[node], owner=workload.direct, ordinal=ordinal)
            running.append(pod)
            events += self._written([pod.object], ts, "ADDED")
        return events

    def _start_job(self, workload: Workload, ts: float, rng: np.random.Generator) -> list[ObjectEvent]:
        job = workload.job(ts)
        events = self._written([job], ts, "ADDED")
        for _ in range(workload.replicas):
            node = int(rng.integers(len(self.nodes)))
            at = ts + float(rng.uniform(1, 4))
            pod = workload.make_pod(at, node=node, node_name=self.nodes[node], owner=job, ordinal=0)
            pod.end_s = at + workload.plan.runs_seconds * float(rng.uniform(0.8, 1.2))
            events += self._written([pod.object], at, "ADDED")
        self._leaving.append((ts + 1.5 * workload.plan.runs_seconds + _KEPT_JOB_SECONDS, job))
        return events

    def _ended(self, pod: Pod, ts: float, *, deleted: bool) -> list[ObjectEvent]:
        pod.end_s = ts
        if deleted:
            return self._written([pod.object], ts, "DELETED")
        pod.object = objects.with_phase(pod.object, pod.phase, ts=ts)
        self._leaving.append((ts + _KEPT_JOB_SECONDS, pod.object))
        return self._written([pod.object], ts, "MODIFIED")

    def _left(self, ts: float) -> list[ObjectEvent]:
        """Objects whose time has come, and pods that ended in the minute before."""
        for workload in self.workloads:
            workload.pods = [p for p in workload.pods if p.end_s > ts]
        due = [(at, o) for at, o in self._leaving if at < ts + MINUTE_S]
        self._leaving = [(at, o) for at, o in self._leaving if at >= ts + MINUTE_S]
        return [e for at, o in due for e in self._written([o], max(at, ts), "DELETED")]

    def _written(
        self, written: list[Object], ts: float, event_type: EventType, *, first_only: bool = False
    ) -> list[ObjectEvent]:
        """Events of objects; with `first_only` the first is changed and the others are new."""
        events = []
        for number, obj in enumerate(written):
            uid = obj["metadata"]["uid"]
            kind: EventType = event_type
            if event_type == "MODIFIED" and (uid not in self.alive or (first_only and number)):
                kind = "ADDED" if uid not in self.alive else "MODIFIED"
            event = ObjectEvent(ts=ts, type=kind, object=obj)
            if kind == "DELETED":
                if self.alive.pop(uid, None) is None:
                    continue
            else:
                self.alive[uid] = event
            events.append(event)
        return events
