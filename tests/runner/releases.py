"""A release of the chart on the runner, beside a simulated cluster with its Prometheus."""

import contextlib
import fcntl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.clusters.fake import FakeCluster
from tests.clusters.living import Living, living
from tests.helm.charts import rendered
from tests.runner.runner import Runner

# What a test does not wait for.
SOON = {"PODPOWER_SENSOR_SECONDS": "8", "PODPOWER_REMAKE_SECONDS": "60", "PODPOWER_HISTORY_HOURS": "3"}
PROMETHEUS = {"prometheus": {"url": "http://prometheus.monitoring.svc:9090"}}
MEASURED = {"cluster": PROMETHEUS, "settings": SOON}
_BOOKMARK_SECONDS = 10
_ADMISSION = "admissionregistration.k8s.io"


@dataclass(frozen=True)
class Release:
    runner: Runner
    lived: Living
    objects: list[dict[str, Any]]


@contextlib.contextmanager
def release(folder: Path, values: Mapping[str, Any] = MEASURED, *, workloads: int = 16) -> Iterator[Release]:
    """Install the chart; what pods call is there before they start, as in a cluster."""
    (folder / "cluster").mkdir(parents=True)
    with (
        _alone(),
        living(folder / "cluster", hours=3, workloads=workloads) as lived,
        Runner(folder / "runner") as runner,
    ):
        runner.serve_api(_place(lived.cluster.url))
        runner.expose("prometheus", 9090, _place(lived.prometheus_url), namespace="monitoring")
        objects = rendered(values)
        lived.cluster.register("", "v1", "secrets", "Secret")
        lived.cluster.register(_ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
        for one in objects:
            if one["kind"] in ("Secret", "MutatingWebhookConfiguration"):
                lived.cluster.add(one)
        runner.apply(objects)
        with _bookmarks(lived.cluster):
            yield Release(runner, lived, objects)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process of the tests runs a release: two of them are too much for a small machine."""
    with (Path(tempfile.gettempdir()) / "podpower-release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _bookmarks(cluster: FakeCluster) -> Iterator[None]:
    """Send watches what a real API server sends every minute where nothing changes."""
    done = threading.Event()

    def send() -> None:
        while not done.wait(_BOOKMARK_SECONDS):
            cluster.bookmark()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)
