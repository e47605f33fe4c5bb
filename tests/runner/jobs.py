"""Jobs of a fake API server, whose pods a Runner runs: what the Job controller and the kubelet do."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from tests.clusters.fake import FakeCluster
from tests.runner.pods import Pod
from tests.runner.runner import Runner

Object = dict[str, Any]
_LOOK_SECONDS = 0.1


class Jobs:
    """Runs one pod for each Job, and writes the states of both back. `backoffLimit` has to be 0.

    A pod ends when its object is deleted, as the kubelet does it; with its Job only where the caller deletes both.
    """

    def __init__(self, cluster: FakeCluster, runner: Runner) -> None:
        self._cluster, self._runner = cluster, runner
        self._pods: dict[str, Pod] = {}  # by name, which is that of the Job with a suffix
        self._stop = threading.Event()
        self._ending: list[threading.Thread] = []
        cluster.logs = lambda _namespace, name: self._pods[name].log(self._pods[name].containers[0].name)

    @contextlib.contextmanager
    def running(self) -> Iterator["Jobs"]:
        thread = threading.Thread(target=self._follow, name="jobs")
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
            for ending in self._ending:
                ending.join()

    def pods(self, **labels: str) -> list[Pod]:
        """Pods that live and have these labels of Dagster: `op`, `job`, `component` and the like."""
        wanted = {f"dagster/{name.replace('_', '-')}": value for name, value in labels.items()}
        alive = [pod for pod in self._pods.values() if not pod.ended.is_set() and not pod.deleting]
        return [pod for pod in alive if wanted.items() <= pod.labels.items()]

    @property
    def started(self) -> list[Pod]:
        return list(self._pods.values())

    def _follow(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            jobs = {job["metadata"]["name"]: job for job in self._cluster.objects("Job")}
            for name, job in jobs.items():
                if not job.get("status"):
                    self._start(name, job)
            known = {pod["metadata"]["name"]: pod for pod in self._cluster.objects("Pod")}
            for name, pod in list(self._pods.items()):
                if name in known and "containerStatuses" not in known[name]["status"] and pod.phase == "Running":
                    self._write_pod(known[name], pod)
                elif name in known and pod.ended.is_set() and known[name]["status"]["phase"] in ("Pending", "Running"):
                    self._write_pod(known[name], pod)
                    self._write_job(name, pod)
                elif name not in known and not pod.deleting and not pod.ended.is_set():
                    self._end(name, pod)

    def _start(self, name: str, job: Object) -> None:
        assert job["spec"]["backoffLimit"] == 0
        template, namespace = job["spec"]["template"], job["metadata"]["namespace"]
        labels = {**template["metadata"].get("labels", {}), "job-name": name, "batch.kubernetes.io/job-name": name}
        metadata = {"name": f"{name}-pod", "namespace": namespace, "labels": labels}
        status = {"phase": "Pending"}
        self._cluster.add(
            {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": template["spec"], "status": status}
        )
        self._cluster.update({**job, "status": {"active": 1, "startTime": job["metadata"]["creationTimestamp"]}})
        self._pods[f"{name}-pod"] = self._runner.run(
            {**template, "metadata": {**template["metadata"], "labels": labels}}, name=f"{name}-pod", made_by=job
        )

    def _write_pod(self, stored: Object, pod: Pod) -> None:
        statuses = []
        for one in pod.containers:
            state: Object = {"running": {}}
            if pod.ended.is_set():
                state = {"terminated": {"exitCode": one.exit_codes[-1] if one.exit_codes else 137, "reason": "Ended"}}
            status = {"name": one.name, "image": one.spec["image"], "imageID": "", "restartCount": 0}
            statuses.append({**status, "ready": not pod.ended.is_set(), "state": state})
        with contextlib.suppress(KeyError):  # deleted meanwhile
            self._cluster.update({**stored, "status": {"phase": pod.phase, "containerStatuses": statuses}})

    def _write_job(self, pod_name: str, pod: Pod) -> None:
        found = [job for job in self._cluster.objects("Job") if f"{job['metadata']['name']}-pod" == pod_name]
        done = {"succeeded": 1} if pod.phase == "Succeeded" else {"failed": 1}
        for job in found:  # unless it was deleted
            with contextlib.suppress(KeyError):
                self._cluster.update({**job, "status": {"startTime": job["status"]["startTime"], **done}})

    def _end(self, name: str, pod: Pod) -> None:
        """Let a pod end that was deleted. Its Job counts it as failed."""

        def end() -> None:
            self._runner.delete(pod)
            self._write_job(name, pod)

        pod.deleting = True
        self._ending.append(threading.Thread(target=end))
        self._ending[-1].start()
