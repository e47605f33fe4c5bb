"""The scaled profile on a runner: a made cluster in a real Prometheus, PostgreSQL, S3, runs as Jobs of a fake API."""

import base64
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import polars as pl
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from benchmarks.scale.made_cluster import MadeCluster, made
from podpower import settings
from podpower.io.files import write_atomically
from podpower.io.places import place
from podpower_assets.definitions import definitions
from podpower_assets.partitions import consecutive, hour_key, hours_between, range_tags
from podpower_assets.resources import Tables
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import write_kubeconfig
from tests.clusters.prometheus import serving
from tests.helm.charts import NAMESPACE, SCALED, find, rendered
from tests.helm.rbac import Grants
from tests.postgres import serving_postgres
from tests.runner.images import ROOT, known_images
from tests.runner.jobs import Jobs
from tests.runner.pods import Pod
from tests.runner.runner import Runner
from tests.s3 import forget_servers, new_bucket, serving_s3

Object = dict[str, Any]
# Of a measured cluster, without what requests runs by itself.
ASSETS = ("workload_specs", "features", "kepler_labels", "job_labels", "training_rows", "fleet_summary")
DEFINITIONS = ROOT / "benchmarks" / "scale" / "backfill_definitions.py"
DONE = {BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.FAILED}
ADMISSION = "admissionregistration.k8s.io"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Scaled:
    """What is up. `instance` is Dagster's, with the launcher of the platform pod."""

    runner: Runner
    cluster: FakeCluster
    jobs: Jobs
    instance: dg.DagsterInstance
    made: MadeCluster
    grants: Grants
    objects: list[Object]
    home: str

    @property
    def hours(self) -> list[str]:
        return hours_between(self.made.start_s, self.made.end_s)

    def backfill(self, name: str, hours: Sequence[str], assets: Sequence[str] = ASSETS) -> None:
        """Launch a backfill, as the UI does."""
        graph = definitions(settings.read()).resolve_asset_graph()
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=name, asset_graph=graph, partition_names=list(hours),
            asset_selection=[dg.AssetKey(asset) for asset in assets], backfill_timestamp=time.time(), tags={},
            dynamic_partitions_store=self.instance, all_partitions=False, title=None, description=None, run_config=None,
        )  # fmt: skip
        self.instance.add_backfill(backfill)

    def runs(self, backfill: str) -> Sequence[dg.DagsterRun]:
        return self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))

    def until(self, what: str, ask: Callable[[], Any], *, seconds: float, every_s: float = 0.1) -> Any:
        """Wait; the logs of the platform and of the last pods explain a failure."""
        pods = [*self.runner.pods(component="platform"), *self.jobs.started[-3:]]
        return self.runner.until(what, lambda: ask() or None, seconds=seconds, pods=pods, every_s=every_s)

    def until_working(self, step: str, *, seconds: float = 300) -> Pod:
        """Wait for a pod of a step whose process has begun."""

        def working() -> Pod | None:
            found = [pod for pod in self.jobs.pods(op=step) if pod.containers[0].pid is not None]
            return found[0] if found else None

        pod: Pod = self.until(f"pod of {step}", working, seconds=seconds)
        return pod

    def until_done(self, backfill: str, *, seconds: float) -> str:
        """Wait for the end of a backfill; return its status."""

        def status() -> str | None:
            found = self.instance.get_backfill(backfill)
            return found.status.value if found and found.status in DONE else None

        return str(self.until(f"end of {backfill}", status, seconds=seconds, every_s=1.0))

    def problems(self, hours: Sequence[str], folder: Path, assets: Sequence[str] = ASSETS) -> list[str]:
        """Partitions that are not recorded or not stored, and those of `hours` that an undisturbed run in this process
        makes otherwise.
        """
        tables, found = Tables(root=settings.read().places.tables), []
        for asset in assets:
            recorded = self.instance.get_materialized_partitions(dg.AssetKey(asset))
            found += [f"{asset} {hour} is not recorded" for hour in self.hours if hour not in recorded]
            stored = {path.name for path in (place(tables.root) / asset).glob("*.parquet")}
            expected = {tables.path(asset, hour).name for hour in self.hours}
            found += [f"{asset} {name} is missing, or too many" for name in sorted(stored ^ expected)]
        kept = {(asset, hour): tables.read(asset, hour) for asset in assets for hour in hours}
        with _elsewhere(folder, tables), dg.DagsterInstance.ephemeral() as instance:
            own = Tables(root=settings.read().places.tables)
            job = definitions(settings.read()).resolve_implicit_global_asset_job_def()
            for group in consecutive(list(hours)):
                job.execute_in_process(
                    instance=instance, asset_selection=[dg.AssetKey(name) for name in assets],
                    tags=range_tags(group[0], group[-1]), run_config=QUIET,
                )  # fmt: skip
            for (asset, hour), table in kept.items():
                if not _equal(table, own.read(asset, hour)):
                    found.append(f"{asset} {hour} differs")
        return found


@contextlib.contextmanager
def scaled(
    folder: Path, *, workloads: int, hours: int, start_s: float, values: Object, kept: Path, quick: bool = False
) -> Iterator[Scaled]:
    """Bring up the platform pod over a made cluster, whose `hours` are in its Prometheus and its journal; that is kept
    in `kept` for the next time. The daemon of a `quick` one waits less.
    """
    cluster = made(kept, MadeCluster(pods=5 * workloads, hours=hours, start_s=start_s))
    with contextlib.ExitStack() as stack:
        environment = stack.enter_context(serving_s3())
        postgres = urlsplit(stack.enter_context(serving_postgres()))
        prometheus = urlsplit(stack.enter_context(serving(kept / "tsdb")))
        api = stack.enter_context(fake_api())
        runner = stack.enter_context(Runner(folder / "runner", images=_images()))
        stack.enter_context(_restored_environment())
        bucket = new_bucket(environment)
        for name, port, server in (
            ("s3", 9000, urlsplit(environment["AWS_ENDPOINT_URL"])),
            ("db", 5432, postgres),
            ("prometheus", 9090, prometheus),
        ):
            runner.expose(name, port, (str(server.hostname), int(server.port or 0)))
        runner.serve_api(("127.0.0.1", int(api.url.rpartition(":")[2])))
        environment["AWS_ENDPOINT_URL"] = f"http://{runner.address('s3')}:9000"
        given = _values(bucket, environment, cluster, values)
        objects = _without_requests(rendered(given), quick=quick)
        for name, data in {
            "history": {"url": f"postgresql://dagster@db:5432{postgres.path}"},
            "cloud": environment,
        }.items():
            runner.put(secret(name, data))
        own = {
            **environment,
            settings.HOME: f"{bucket}/podpower",
            settings.MODEL_STORE: f"{bucket}/podpower/models",
            settings.POSTGRES_URL: postgres.geturl(),
            settings.PROMETHEUS_URL: f"http://{runner.address('prometheus')}:9090",
            "PODPOWER_PARTITIONS_START": hour_key(cluster.start_s),
        }
        os.environ.update(own)
        forget_servers()
        uploaded(kept / "journal", f"{bucket}/podpower/journal")
        grants = Grants(objects)
        api.authorize = grants.refusal
        runner.apply([o for o in objects if o["kind"] in {"ConfigMap", "Secret", "ServiceAccount", "Service"}])
        jobs = stack.enter_context(Jobs(api, runner).running())
        runner.apply([find(objects, "Deployment", "-platform")])
        runner.until_ready(runner.pods(component="platform"), seconds=600)
        kubeconfig = write_kubeconfig(folder / "kubeconfig", api.url, user={"token": "token-of-podpower-platform"})
        instance = stack.enter_context(
            dg.DagsterInstance.from_config(str(dagster_home(folder / "dagster", objects, kubeconfig)))
        )
        _fit_encoder(instance, hour_key(cluster.start_s))
        yield Scaled(runner, api, jobs, instance, cluster, grants, objects, f"{bucket}/podpower")


@contextlib.contextmanager
def fake_api() -> Iterator[FakeCluster]:
    """An API server with all kinds that podpower calls."""
    with FakeCluster() as api:
        api.register("", "v1", "events", "Event")
        api.register("", "v1", "secrets", "Secret")
        api.register("coordination.k8s.io", "v1", "leases", "Lease")
        api.register(ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
        yield api


def _values(bucket: str, environment: dict[str, str], cluster: MadeCluster, more: Object) -> Object:
    return {
        **SCALED,
        "storage": {"url": f"{bucket}/podpower"},
        "cluster": {"name": "made", "prometheus": {"url": "http://prometheus:9090"}},
        "settings": {"PODPOWER_PARTITIONS_START": hour_key(cluster.start_s)},
        "settingsSecrets": ["cloud"],
        **more,
    }


def _without_requests(objects: list[Object], *, quick: bool) -> list[Object]:
    """The platform pod without what needs no API server, and with definitions in which nothing requests runs."""
    spec = find(objects, "Deployment", "-platform")["spec"]["template"]["spec"]
    spec["containers"] = [one for one in spec["containers"] if one["name"] in ("code-location", "daemon")]
    args = spec["containers"][0]["args"]
    at = args.index("--module-name")
    args[at : at + 2] = ["--python-file", str(DEFINITIONS)]
    if quick:
        [daemon] = [one for one in spec["containers"] if one["name"] == "daemon"]
        daemon["command"] = ["python", str(DEFINITIONS.with_name("quick_daemon.py")), *daemon["command"][3:]]
    return objects


def _images() -> dict[str, Any]:
    found = known_images()
    platform = found["podpower-platform"]
    folder = DEFINITIONS.parent
    return {**found, "podpower-platform": replace(platform, mounts={**platform.mounts, str(folder): folder})}


def secret(name: str, data: dict[str, str]) -> Object:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": encoded}


def dagster_home(folder: Path, objects: list[Object], kubeconfig: Path) -> Path:
    """DAGSTER_HOME of this process: the instance of the platform pod, which reaches the API server from outside."""
    given = yaml.safe_load(find(objects, "ConfigMap", "-dagster")["data"]["dagster.yaml"])
    given["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    given["local_artifact_storage"]["config"] = {"base_dir": str(folder / "artifacts")}
    folder.mkdir()
    (folder / "dagster.yaml").write_text(yaml.safe_dump(given))
    return folder


def uploaded(folder: Path, url: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            write_atomically(place(url) / str(path.relative_to(folder)), path.read_bytes())


def _fit_encoder(instance: dg.DagsterInstance, hour: str) -> None:
    """Make the encoder on the specs of the first hour, as the platform's first run does."""
    job = definitions(settings.read()).resolve_implicit_global_asset_job_def()
    made_it = job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("workload_specs"), dg.AssetKey("encoder")],
        tags=range_tags(hour, hour), run_config=QUIET,
    )  # fmt: skip
    assert made_it.success


@contextlib.contextmanager
def _restored_environment() -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("PODPOWER_", "DAGSTER_"))]:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        forget_servers()


@contextlib.contextmanager
def _elsewhere(folder: Path, tables: Tables) -> Iterator[None]:
    """Let this process write tables in a folder meanwhile, with the same encoder and the same journal."""
    before = dict(os.environ)
    (folder / "tables" / "encoder").mkdir(parents=True)
    for path in (place(tables.root) / "encoder").glob("*"):
        (folder / "tables" / "encoder" / path.name).write_bytes(path.read_bytes())
    journal = settings.read().places.recording(live=True)
    os.environ.update(
        {settings.HOME: str(folder), settings.MODEL_STORE: str(folder / "models"), settings.RECORDING: journal}
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _equal(first: pl.DataFrame | None, second: pl.DataFrame | None) -> bool:
    return first is not None and second is not None and first.equals(second)
