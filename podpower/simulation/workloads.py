"""A workload in the simulated cluster and the objects around its pods: owners, templates, revisions."""

from dataclasses import dataclass, field

from podpower.simulation import objects
from podpower.simulation.catalogue import Planned
from podpower.simulation.objects import Object

_WITH_REPLICA_SETS = frozenset({"Deployment", "Rollout"})
_WITH_REVISIONS = frozenset({"StatefulSet", "DaemonSet"})


@dataclass(kw_only=True)
class Pod:
    """A pod: its object, its containers' shares of power, its life and power."""

    name: str
    uid: str
    namespace: str
    node: int
    workload: "Workload"
    object: Object
    container_names: list[str]
    start_s: float
    watts: float
    end_s: float = float("inf")
    restarts: int = 0
    phase: str = "Succeeded"  # how it ends, when it ends by itself


@dataclass(kw_only=True)
class Workload:
    """A planned workload as it is now. `factor` is what makes its power differ from others of the same software."""

    plan: Planned
    factor: float
    image: str
    cpu_mcpu: int | None
    replicas: int
    revision: int = 1
    revision_factor: float = 1.0
    made: int = 0  # pods so far: names and uids come from it
    owner: Object | None = None  # the object people deploy; None for bare and static pods
    direct: Object | None = None  # what pods have as their controller
    pods: list[Pod] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        """Namespace, kind and name."""
        return self.plan.namespace, self.plan.kind, self.plan.name

    def template(self) -> Object:
        """Return the pod template of the present revision."""
        plan = self.plan
        env = {**plan.env, "REVISION_FLAGS": f"v{self.revision}"} if self.revision > 1 else plan.env
        made = objects.template(
            plan.name, plan.software, image=self.image, cpu_mcpu=self.cpu_mcpu, sidecar=plan.sidecar, env=env
        )
        if plan.kind in {"Job", "CronJob"}:
            made["spec"]["restartPolicy"] = "Never"
        return made

    def watts(self) -> float:
        """Return power of one pod in an average hour: from its software, the root of its CPU request, and its own
        factor.
        """
        software = self.plan.software
        grown = 1.0
        if self.cpu_mcpu and software.cpu_mcpu:
            grown = (self.cpu_mcpu / software.cpu_mcpu) ** 0.5
        return software.watts * grown * self.factor * self.revision_factor

    def deploy(self, ts: float) -> list[Object]:
        """Return the objects of the present revision, owner first: what a rollout writes."""
        plan = self.plan
        if plan.kind in {"Pod", "Node"}:
            self.owner = self.direct = None
            return []
        spec: Object = {"template": self.template()}
        if plan.kind in {"Job", "CronJob"}:
            spec |= {"parallelism": self.replicas, "completions": self.replicas, "backoffLimit": 6}
        elif plan.kind != "DaemonSet":
            spec |= {"replicas": self.replicas, "selector": {"matchLabels": {"app": plan.name}}}
        if plan.kind == "CronJob":
            spec = {"schedule": f"*/{plan.every_minutes} * * * *", "jobTemplate": {"spec": spec}}
        uid = objects.uid_of("workload", *self.key)
        self.owner = objects.obj(plan.kind, plan.name, plan.namespace, uid, ts=ts, spec=spec)
        written = [self.owner]
        self.direct = self.owner
        hashed = objects.suffix_of(9, *self.key, self.revision)
        labels = {"app": plan.name, "pod-template-hash": hashed}
        if plan.kind in _WITH_REPLICA_SETS:
            name = f"{plan.name}-{hashed}"
            uid = objects.uid_of("rs", *self.key, self.revision)
            body: Object = {"replicas": self.replicas, "template": self.template()}
            self.direct = objects.obj(
                "ReplicaSet", name, plan.namespace, uid, ts=ts, owner=self.owner, labels=labels, spec=body
            )
            written.append(self.direct)
        elif plan.kind in _WITH_REVISIONS:
            name = f"{plan.name}-{hashed}"
            uid = objects.uid_of("revision", *self.key, self.revision)
            data = {"spec": {"template": {**self.template(), "$patch": "replace"}}}
            labels = {"app": plan.name, "controller-revision-hash": hashed}
            written.append(
                objects.obj(
                    "ControllerRevision",
                    name,
                    plan.namespace,
                    uid,
                    ts=ts,
                    owner=self.owner,
                    labels=labels,
                    data=data,
                    revision=self.revision,
                )
            )
        return written

    def pod_labels(self) -> Object:
        """Return the labels that the controller gives its pods."""
        hashed = objects.suffix_of(9, *self.key, self.revision)
        if self.plan.kind in _WITH_REPLICA_SETS:
            return {"pod-template-hash": hashed}
        if self.plan.kind in _WITH_REVISIONS:
            return {"controller-revision-hash": hashed}
        return {}

    def job(self, ts: float) -> Object:
        """Return the Job that a CronJob starts at `ts`."""
        plan = self.plan
        name = f"{plan.name}-{int(ts // 60)}"
        spec = {"parallelism": self.replicas, "completions": self.replicas, "template": self.template()}
        uid = objects.uid_of("job", *self.key, int(ts))
        return objects.obj("Job", name, plan.namespace, uid, ts=ts, owner=self.owner, spec=spec)

    def make_pod(self, ts: float, *, node: int, node_name: str, owner: Object | None, ordinal: int) -> Pod:
        """Return a new pod of the present revision."""
        plan = self.plan
        self.made += 1
        uid = objects.uid_of("pod", *self.key, self.made)
        tail = objects.suffix_of(5, uid)
        if plan.kind == "StatefulSet":
            name = f"{plan.name}-{ordinal}"  # its name comes back, its uid does not
        elif plan.kind == "Node":
            name = f"{plan.name}-{node_name}"
        elif plan.kind == "Pod":
            name = plan.name
        else:
            name = f"{owner['metadata']['name']}-{tail}" if owner else f"{plan.name}-{tail}"
        if plan.kind == "Node":
            owner = objects.obj("Node", node_name, "", objects.uid_of("node", node_name), ts=ts)
        pod_template = self.template()
        made = objects.running_pod(
            name, plan.namespace, uid, ts=ts, owner=owner, pod_template=pod_template, node=node_name,
            labels=self.pod_labels(),
        )  # fmt: skip
        if plan.kind == "Node":
            made["metadata"]["annotations"] = {"kubernetes.io/config.mirror": tail}
        pod = Pod(
            name=name, uid=uid, namespace=plan.namespace, node=node, workload=self, object=made, start_s=ts,
            container_names=[c["name"] for c in pod_template["spec"]["containers"]], watts=self.watts(),
        )  # fmt: skip
        self.pods.append(pod)
        return pod
