"""Workloads of changed objects, whose owners are fetched."""

import asyncio
from pathlib import Path

import pytest

from podpower.collector import workloads
from podpower.collector.workloads import Workloads
from podpower.sources.kubernetes.access import ClusterConfig, open_access
from podpower.sources.kubernetes.api import Api
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, running_pod, write_kubeconfig


def test_owners_of_a_year_are_not_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run of a CronJob has an owner of its own, and a watch of pods kept all of them."""
    monkeypatch.setattr(workloads, "_MOST_KEPT", 5)
    template = deployment("report")["spec"]["template"]
    with FakeCluster() as cluster:
        pods = []
        for number in range(20):
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"job-{number}", "namespace": "shop"}}
            stored = cluster.add({**job, "spec": {"template": template}})
            pods.append(running_pod(f"job-{number}-x", stored, template))
        access = open_access(ClusterConfig(kubeconfig=str(write_kubeconfig(tmp_path / "config", cluster.url))))

        async def kept() -> list[int]:
            async with Api(access, note=print) as api:
                found, sizes = Workloads(api, ()), []
                for pod in pods:
                    request = await found.request(pod)
                    assert request is not None
                    assert pod["metadata"]["name"] == f"{request.workload_name}-x"
                    sizes.append(len(found._fetched))
                return sizes

        assert max(asyncio.run(kept())) < 20
