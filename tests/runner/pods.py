"""One pod: a sandbox with an address, init containers one after another, then its containers."""

import asyncio
import contextlib
import os
import signal
import traceback
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.runner.containers import Container, first_child
from tests.runner.environment import Lookup
from tests.runner.images import Image
from tests.runner.network import Network
from tests.runner.roots import sandbox_command
from tests.runner.volumes import Claim, Volumes

Object = dict[str, Any]
_END_SECONDS = 15.0  # between the end of the last process and that of the pod


class Pod:
    """Made and followed by a Runner, in the thread of its loop; its properties can be read from everywhere."""

    def __init__(
        self, name: str, namespace: str, template: Object, *, folder: Path, images: Mapping[str, Image],
        network: Network, found: Lookup, claim: Claim, token: str, service_variables: Mapping[str, str],
        tasks: asyncio.TaskGroup, made_by: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.namespace, self.spec = name, namespace, template["spec"]
        self.labels = dict(template.get("metadata", {}).get("labels", {}))
        self.annotations = dict(template.get("metadata", {}).get("annotations", {}))
        self.uid = str(uuid.uuid4())
        self.folder, self.images, self.found, self.tasks = folder, images, found, tasks
        self.service_variables, self.made_by = service_variables, made_by
        self._network, self._claim, self._token = network, claim, token
        self.hosts = network.hosts
        self.shares_processes = bool(self.spec.get("shareProcessNamespace"))
        self.grace_s = self.spec.get("terminationGracePeriodSeconds", 30)
        self.phase, self.address, self.sandbox, self.deleting = "Pending", "", 0, False
        self.events: list[str] = []
        folder.mkdir(parents=True)
        self.init_containers = [Container(self, spec) for spec in self.spec.get("initContainers", [])]
        self.containers = [Container(self, spec) for spec in self.spec["containers"]]
        self._process: asyncio.subprocess.Process | None = None
        self.ended = asyncio.Event()

    @property
    def ready(self) -> bool:
        return self.phase == "Running" and not self.deleting and all(one.ready for one in self.containers)

    def container(self, name: str) -> Container:
        [found] = [one for one in (*self.init_containers, *self.containers) if one.name == name]
        return found

    def log(self, container: str) -> str:
        """What a container has printed."""
        path = self.container(container).log
        return path.read_text(errors="replace") if path.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """Its processes, without those that the runner made for it."""
        return [process for one in self.containers for process in one.processes()]

    def fields(self) -> dict[str, str]:
        """What `fieldRef` can name."""
        own = {"metadata.name": self.name, "metadata.namespace": self.namespace, "metadata.uid": self.uid}
        own |= {"status.podIP": self.address, "status.hostIP": self._network.gateway, "spec.nodeName": "runner"}
        own |= {"spec.serviceAccountName": self.spec.get("serviceAccountName", "default")}
        own |= {f"metadata.labels['{key}']": value for key, value in self.labels.items()}
        return own | {f"metadata.annotations['{key}']": value for key, value in self.annotations.items()}

    def note(self, event: str) -> None:
        self.events.append(event)

    async def run(self) -> None:
        """Run it until its containers have ended for good, or it is deleted."""
        process = await asyncio.create_subprocess_exec(
            *sandbox_command(self.name), stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            self.sandbox = await first_child(process.pid) or 0
            self.address = await asyncio.to_thread(self._network.join, self.sandbox)
            folder = self.folder / "volumes"
            self.volumes = Volumes(folder, self.spec, self.fields(), self.found, self._claim, self._token)
            try:
                self.phase = await self._ran()
            finally:
                self.volumes.remove()
        except Exception as error:  # such as a Secret that does not exist; other pods go on
            self.phase = "Failed"
            self.note("".join(traceback.format_exception(error)))
        finally:
            self.kill()
            await process.wait()
            if self.address:
                self._network.leave(self.address)
            self.ended.set()

    async def _ran(self) -> str:
        for one in self.init_containers:
            await one.supervise() if self.spec.get("restartPolicy") == "Never" else await self._until_done(one)
            if self.deleting or one.exit_codes[-1] != 0:
                return "Failed"
        self.phase = "Running"
        async with asyncio.TaskGroup() as tasks:
            for one in self.containers:
                tasks.create_task(one.supervise())
        return "Failed" if any(one.exit_codes[-1] for one in self.containers) else "Succeeded"

    async def _until_done(self, init: Container) -> None:
        while await init.run_once() != 0 and not self.deleting:
            self.note(f"{init.name} ended with {init.exit_codes[-1]}")
            await asyncio.sleep(1)

    async def delete(self, grace_s: float | None = None) -> None:
        """End it: preStop, SIGTERM, and after the grace period SIGKILL."""
        self.deleting = True
        grace = self.grace_s if grace_s is None else grace_s
        async with asyncio.TaskGroup() as tasks:
            for one in (*self.init_containers, *self.containers):
                tasks.create_task(one.stop(grace))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), _END_SECONDS)
            return
        self.kill()  # it was about to start something
        await self.ended.wait()

    def kill(self) -> None:
        """Kill everything in it at once, as the loss of its node does."""
        self.deleting = True
        with contextlib.suppress(ProcessLookupError):
            if self.sandbox:
                os.kill(self.sandbox, signal.SIGKILL)

    def describe(self) -> str:
        """What explains that it does not do what it should."""
        parts = [f"== {self.name}: {self.phase}, ready {self.ready}, events {self.events}"]
        for one in (*self.init_containers, *self.containers):
            state = f"started {one.started}, ready {one.ready}, exit codes {one.exit_codes}"
            parts.append(f"-- {one.name}: {state}\n{self.log(one.name)[-2500:]}")
        return "\n".join(parts)
