"""The runner: what Helm rendered, the pods that it makes of it, and the Services that lead to them."""

import asyncio
import copy
import itertools
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.clusters.tls import self_signed
from tests.runner.accounts import with_token
from tests.runner.images import Image, known_images
from tests.runner.network import Network
from tests.runner.pods import Pod
from tests.runner.services import Endpoint, Proxy

Object = dict[str, Any]
T = TypeVar("T")
_MADE = ("Deployment", "StatefulSet")


class Runner:
    """`with Runner(folder) as runner: runner.apply(objects)` starts the pods of Deployments and StatefulSets.

    All methods can be called from any thread. Claims are folders of `folder`, and so are logs.
    """

    def __init__(
        self, folder: Path, *, namespace: str = "power", images: Mapping[str, Image] | None = None,
        endpoint_lag_s: float = 1.0,
    ) -> None:  # fmt: skip
        self._folder, self.namespace = folder, namespace
        self._images = known_images() if images is None else images
        self._lag_s = endpoint_lag_s  # other nodes learn so late that a pod is being deleted
        self._objects: dict[tuple[str, str], Object] = {}
        self._pods: list[Pod] = []
        self._leaving: dict[str, float] = {}  # pods that are deleted, and since when
        self._proxies: list[Proxy] = []
        self._running: list[asyncio.Task[None]] = []
        self._api: tuple[str, str] | None = None  # the API server's address and its authority
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._main(),), name="runner", daemon=True
        )
        self._up, self._stop = threading.Event(), asyncio.Event()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._network = Network(self._folder)
        self._thread.start()
        self._up.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._network.close()

    # What there is.

    def apply(self, objects: Iterable[Object]) -> None:
        """Store objects, make their Services, and start the pods of their Deployments and StatefulSets."""
        for given in objects:
            self._objects[given["kind"], given["metadata"]["name"]] = given
            if given["kind"] == "Service":
                self._call(self._serve(given))
        for given in objects:
            if given["kind"] in _MADE:
                for number in range(self.replicas(given)):
                    self._run_one_of(given, number)

    def put(self, given: Object) -> None:
        """Store an object that pods name, such as a Secret of the user's."""
        self._objects[given["kind"], given["metadata"]["name"]] = given

    def found(self, kind: str, name: str) -> Object | None:
        return self._objects.get((kind, name))

    def replicas(self, given: Object) -> int:
        """How many pods an object wants; the least that its autoscaler does."""
        for (kind, _), scaler in self._objects.items():
            target = scaler.get("spec", {}).get("scaleTargetRef", {}) if kind == "HorizontalPodAutoscaler" else {}
            if (target.get("kind"), target.get("name")) == (given["kind"], given["metadata"]["name"]):
                return int(scaler["spec"]["minReplicas"])
        return int(given["spec"].get("replicas", 1))

    def claim(self, name: str) -> Path:
        """The folder of a claim, which outlives pods."""
        place = self._folder / "claims" / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    # Pods.

    def run(self, template: Object, *, name: str, made_by: Object | None = None) -> Pod:
        """Start a pod of a template."""
        return self._call(self._started(template, name, made_by))

    def pods(self, **labels: str) -> list[Pod]:
        """Pods that are not being deleted and have these labels; `component` is that of the chart."""
        wanted = {f"app.kubernetes.io/{name}": value for name, value in labels.items()}
        return [pod for pod in self._pods if not pod.deleting and wanted.items() <= pod.labels.items()]

    def delete(self, pod: Pod, grace_s: float | None = None) -> None:
        """Delete a pod, and wait until it is gone; Services forget it a little later than it is asked to end."""
        self._leaving[pod.uid] = time.monotonic()
        self._call(pod.delete(grace_s), timeout_s=pod.grace_s + 60)

    def kill(self, pod: Pod) -> None:
        """Kill everything in a pod at once, as the loss of its node does."""
        self._loop.call_soon_threadsafe(pod.kill)
        self.until("end", lambda: pod.ended.is_set() or None, pods=[pod])

    def roll(self, given: Object, *, seconds: float = 120) -> None:
        """Replace the pods of a Deployment, as its strategy says, by pods of this object."""
        name = given["metadata"]["name"]
        old = [pod for pod in self._pods if not pod.deleting and pod.made_by == (given["kind"], name)]
        self._objects[given["kind"], name] = given
        recreates = given["spec"].get("strategy", {}).get("type") == "Recreate"
        if recreates:
            for pod in old:
                self.delete(pod)
        for number in range(self.replicas(given)):
            new = self._run_one_of(given, number)
            self.until_ready([new], seconds=seconds)
            if not recreates and old:
                self.delete(old.pop(0))
        for pod in old if not recreates else []:
            self.delete(pod)

    def execute(self, pod: Pod, container: str, *command: str) -> tuple[int, str]:
        """Run a command in a container; return its exit code and what it printed."""
        code, output = self._call(pod.container(container).output(list(command)))
        return code, output.decode(errors="replace")

    def until(
        self, what: str, ask: Callable[[], T | None], *, seconds: float = 120, pods: Iterable[Pod] | None = None,
        every_s: float = 0.1,
    ) -> T:  # fmt: skip
        """Ask until the answer is not None; states and logs of pods explain a failure."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = ask()
            if answer is not None:
                return answer
            time.sleep(every_s)
        described = "\n".join(pod.describe() for pod in (self._pods if pods is None else pods))
        raise AssertionError(f"no {what} within {seconds:.0f} s\n{described}")

    def until_ready(self, pods: Iterable[Pod] | None = None, *, seconds: float = 120) -> None:
        found = list(self.pods() if pods is None else pods)

        def ready() -> bool | None:
            assert not any(pod.ended.is_set() for pod in found), "\n".join(pod.describe() for pod in found)
            return all(pod.ready for pod in found) or None

        self.until("ready pods", ready, seconds=seconds, pods=found)

    def until_ended(self, pod: Pod, *, seconds: float = 120) -> str:
        """Wait until a pod has ended; return its phase."""
        self.until("end", lambda: pod.ended.is_set() or None, seconds=seconds, pods=[pod])
        return pod.phase

    # Services.

    def address(self, service: str) -> str:
        """The address of a Service, which this process can connect to as pods do."""
        return self._addresses[service]

    def expose(self, service: str, port: int, backend: Endpoint, *, namespace: str | None = None) -> None:
        """Make a Service of a server of this machine, which listens on its loopback address."""
        self._call(self._exposed(service, port, backend, namespace or self.namespace))

    def serve_api(self, backend: Endpoint) -> None:
        """Make a server of this machine the API server of pods, over TLS; to be called before pods start."""
        self._call(self._served_api(backend))

    # In the loop.

    async def _main(self) -> None:
        self._addresses: dict[str, str] = {}
        self._loop.set_default_executor(ThreadPoolExecutor(32, thread_name_prefix="probes"))
        async with asyncio.TaskGroup() as self._tasks:
            self._up.set()
            await self._stop.wait()
            for task in self._running:
                task.cancel()
            for proxy in self._proxies:
                await proxy.close()
        await asyncio.sleep(0.1)  # connections are closed in the next rounds of the loop

    def _call(self, work: Coroutine[Any, Any, T], timeout_s: float = 60) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    async def _started(self, template: Object, name: str, made_by: Object | None) -> Pod:
        account = template["spec"].get("serviceAccountName", "default")
        variables = {}
        if self._api:
            variables = {"KUBERNETES_SERVICE_HOST": self._api[0], "KUBERNETES_SERVICE_PORT": "443"}
        pod = Pod(
            name, self.namespace, with_token(template, self.found),
            folder=self._folder / "pods" / f"{name}-{next(self._numbers)}", images=self._images,
            network=self._network, found=self.found, claim=self.claim,
            token=f"token-of-{account}", service_variables=variables, tasks=self._tasks,
            made_by=(made_by["kind"], made_by["metadata"]["name"]) if made_by else None,
        )  # fmt: skip
        self._pods.append(pod)
        self._running.append(self._tasks.create_task(pod.run()))
        return pod

    async def _serve(self, service: Object) -> None:
        spec, name = service["spec"], service["metadata"]["name"]
        if spec.get("clusterIP") == "None":
            self._running.append(self._tasks.create_task(self._named(service)))
            return
        address = self._network.service_address()
        for port in spec["ports"]:
            await self._proxied(address, port["port"], lambda port=port: self._endpoints(service, port))
        self._named_service(name, self.namespace, address)

    async def _named(self, service: Object) -> None:
        """Let the name of a Service without an address lead to its pod itself."""
        name, known = service["metadata"]["name"], None
        while True:
            ready = self._endpoints(service, service["spec"]["ports"][0])
            address = ready[0][0] if ready else None
            if address != known:
                self._network.name(address, name, self.namespace)
                known = address
            await asyncio.sleep(0.05)

    def _endpoints(self, service: Object, port: Object) -> list[Endpoint]:
        """Where connections go now: ready pods, and for a moment those that are asked to end."""
        spec, found = service["spec"], []
        for pod in self._pods:
            if not spec["selector"].items() <= pod.labels.items() or not pod.address or pod.ended.is_set():
                continue
            fresh = time.monotonic() - self._leaving.get(pod.uid, 0) < self._lag_s
            up = pod.phase == "Running" and (pod.ready or spec.get("publishNotReadyAddresses", False))
            if fresh if pod.deleting else up:
                found.append((pod.address, _port(pod, port.get("targetPort", port["port"]))))
        return found

    async def _exposed(self, service: str, port: int, backend: Endpoint, namespace: str) -> None:
        address = self._network.service_address()
        await self._proxied(address, port, lambda: [backend])
        self._named_service(service, namespace, address)

    async def _served_api(self, backend: Endpoint) -> None:
        address = self._network.service_address()
        folder = self._folder / "api"
        folder.mkdir()
        certificate = self_signed(folder, address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, folder / "key.pem")
        await self._proxied(address, 443, lambda: [backend], tls=context)
        self._named_service("kubernetes", "default", address)
        self._api = (address, certificate.read_text())
        self.put({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": self._api[1]}})

    async def _proxied(
        self, address: str, port: int, endpoints: Callable[[], list[Endpoint]], **options: Any
    ) -> None:  # fmt: skip
        proxy = Proxy(endpoints, **options)
        await proxy.start(address, port)
        self._proxies.append(proxy)

    def _named_service(self, service: str, namespace: str, address: str) -> None:
        self._addresses[service] = address
        self._network.name(address, service, namespace)

    def _run_one_of(self, made_by: Object, number: int) -> Pod:
        """Start one of the pods of a Deployment or StatefulSet, the latter with its own claims."""
        name, spec = made_by["metadata"]["name"], made_by["spec"]
        if made_by["kind"] == "Deployment":
            return self.run(spec["template"], name=f"{name}-{next(self._numbers):05d}", made_by=made_by)
        template, name = copy.deepcopy(spec["template"]), f"{name}-{number}"
        for claim in spec.get("volumeClaimTemplates", []):
            volume = claim["metadata"]["name"]
            source = {"persistentVolumeClaim": {"claimName": f"{volume}-{name}"}}
            template["spec"].setdefault("volumes", []).append({"name": volume, **source})
        return self.run(template, name=name, made_by=made_by)


def _port(pod: Pod, wanted: int | str) -> int:
    if isinstance(wanted, int):
        return wanted
    named = {port.get("name"): port["containerPort"] for one in pod.containers for port in one.spec.get("ports", [])}
    return int(named[wanted])
