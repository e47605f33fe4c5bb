"""One container: its process, its restarts, its probes and its end."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.runner.environment import environment, expanded
from tests.runner.probes import Probe
from tests.runner.roots import container_command, inside

if TYPE_CHECKING:
    from tests.runner.pods import Pod

_RESTART_SECONDS = (0.2, 1, 2, 5, 10)  # the kubelet's are 10 to 300


class Container:
    def __init__(self, pod: "Pod", spec: dict[str, Any]) -> None:
        self.pod, self.spec, self.name = pod, spec, spec["name"]
        self.image = pod.images[spec["image"].partition("@")[0].rpartition("/")[2].partition(":")[0]]
        self.exit_codes: list[int] = []  # of its processes so far
        self.started = self.ready = False
        self.pid: int | None = None  # its first process, as this machine counts
        self.log = pod.folder / f"{self.name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def restarts(self) -> int:
        return len(self.exit_codes)

    def security(self) -> Mapping[str, object]:
        """Who runs it, and what it is allowed."""
        pod, own = self.pod.spec.get("securityContext", {}), self.spec.get("securityContext", {})
        both = {**pod, **own}
        user, group = both.get("runAsUser", self.image.user[0]), both.get("runAsGroup", self.image.user[1])
        if both.get("runAsNonRoot") and user == 0:
            raise PermissionError(f"{self.pod.name}/{self.name}: the image runs as root, and must not")
        return {
            "user": user,
            "group": group,
            "groups": pod.get("fsGroup"),
            "read_only": own.get("readOnlyRootFilesystem", False),
            "escalates": own.get("allowPrivilegeEscalation", True),
            "drops_capabilities": "ALL" in own.get("capabilities", {}).get("drop", []),
        }

    def variables(self) -> dict[str, str]:
        return {
            **self.image.environment,
            "HOSTNAME": self.pod.name,
            **self.pod.service_variables,
            **environment(self.spec, self.pod.fields(), self.pod.found),
        }

    def command(self, variables: Mapping[str, str]) -> list[str]:
        entrypoint = self.spec.get("command")
        args = self.spec.get("args", [] if entrypoint else self.image.command)
        words = [*(entrypoint or self.image.entrypoint), *args]
        return [expanded(str(word), variables) for word in words]

    def mounts(self) -> list[tuple[str, Path, bool]]:
        """Its volumes, outer ones first."""
        return [
            (mount["mountPath"], self.pod.volumes.places[mount["name"]] / mount.get("subPath", ""),
             mount.get("readOnly", False))
            for mount in sorted(self.spec.get("volumeMounts", []), key=lambda mount: mount["mountPath"])
        ]  # fmt: skip

    async def run_once(self) -> int:
        """Run its process to the end, with its probes; return the exit code."""
        variables = self.variables()
        root = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=self.pod.folder))
        command = container_command(
            self.pod.sandbox, self.pod.shares_processes, root, self.image, self.mounts(), self.pod.hosts,
            self.security(), self.command(variables), self.spec.get("workingDir", self.image.workdir),
        )  # fmt: skip
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.DEVNULL,
            )
        self._process = process
        try:
            self.pid = await self._first(process)
            async with asyncio.TaskGroup() as tasks:
                probes = tasks.create_task(self._probed())
                code = await process.wait()
                probes.cancel()
        except asyncio.CancelledError:
            self.signal(signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        finally:
            self.started = self.ready = False
            self.pid, self._process = None, None
            root.rmdir()
        self.exit_codes.append(code if code >= 0 else 128 - code)
        return self.exit_codes[-1]

    async def supervise(self) -> None:
        """Run it, and again as its pod's restart policy wants, until the pod is deleted."""
        policy = self.pod.spec.get("restartPolicy", "Always")
        while not self.pod.deleting:
            code = await self.run_once()
            if self.pod.deleting or policy == "Never" or (policy == "OnFailure" and code == 0):
                return
            await asyncio.sleep(_RESTART_SECONDS[min(self.restarts, len(_RESTART_SECONDS)) - 1])

    def processes(self) -> list[psutil.Process]:
        """Its first process and those below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.pid is not None:
                first = psutil.Process(self.pid)
                return [first, *first.children(recursive=True)]
        return []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        with contextlib.suppress(ProcessLookupError):
            if self.pid is not None:
                os.kill(self.pid, number)

    async def stop(self, grace_s: float) -> None:
        """The preStop hook, SIGTERM, and SIGKILL when the grace period is over."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._before_stop(self.spec.get("lifecycle", {}).get("preStop", {}))
                self.signal(signal.SIGTERM)
                await process.wait()
                return
        self.signal(signal.SIGKILL)

    async def execute(self, command: list[str]) -> int:
        """Run a command in it, as `kubectl exec` does; return the exit code."""
        return (await self.output(command))[0]

    async def output(self, command: list[str]) -> tuple[int, bytes]:
        if self.pid is None:
            return 1, b"not running"
        process = await asyncio.create_subprocess_exec(
            *inside(self.pid, self.security(), command), env=self.variables(), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        return int(process.returncode or 0), output

    async def _before_stop(self, hook: dict[str, Any]) -> None:
        if "sleep" in hook:
            await asyncio.sleep(hook["sleep"]["seconds"])
        elif "exec" in hook:
            await self.execute(hook["exec"]["command"])
        elif hook:
            raise NotImplementedError(f"a hook {hook}")

    async def _first(self, process: asyncio.subprocess.Process) -> int | None:
        """The first process of the container, behind those that enter and make its namespaces."""
        pid: int | None = process.pid
        for _ in range(1 if self.pod.shares_processes else 2):
            pid = pid and await first_child(pid)
        return pid

    async def _probed(self) -> None:
        """Follow its probes: started, then ready or not, and killed when it is no longer alive."""
        ports = {port["name"]: port["containerPort"] for port in self.spec.get("ports", []) if "name" in port}

        def probe(kind: str) -> Probe | None:
            spec = self.spec.get(f"{kind}Probe")
            return Probe(spec, self.pod.address, ports, self.execute) if spec else None

        def kill() -> None:
            self.pod.note(f"{self.name} is not alive")
            self.pod.tasks.create_task(self.stop(self.pod.grace_s))

        if startup := probe("startup"):
            failed = 0
            await asyncio.sleep(startup.delay_s)
            while not await startup.passes():
                failed += 1
                if failed >= startup.failures:
                    return kill()
                await asyncio.sleep(startup.period_s)
        self.started = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ready(probe("readiness")))
            if liveness := probe("liveness"):
                tasks.create_task(self._alive(liveness, kill))
        return None

    async def _ready(self, probe: Probe | None) -> None:
        if probe is None:
            self.ready = True
            return
        await asyncio.sleep(probe.delay_s)
        same, last = 0, False
        while True:
            passed = await probe.passes()
            same = same + 1 if passed == last else 1
            last = passed
            if same >= (probe.successes if passed else probe.failures):
                self.ready = passed
            await asyncio.sleep(probe.period_s)

    async def _alive(self, probe: Probe, kill: Any) -> None:
        await asyncio.sleep(probe.delay_s)
        failed = 0
        while failed < probe.failures:
            failed = 0 if await probe.passes() else failed + 1
            await asyncio.sleep(probe.period_s)
        kill()


async def first_child(process: int) -> int | None:
    """The process that `process` forked, as soon as there is one; None where it ended before."""
    children = Path(f"/proc/{process}/task/{process}/children")
    while True:
        try:
            if found := children.read_text().split():
                return int(found[0])
        except (FileNotFoundError, ProcessLookupError):
            return None
        await asyncio.sleep(0.005)
