"""The collectors that `podpower up` starts for a file of clusters."""

import os
import time
from pathlib import Path

import pytest

from podpower.cli import supervisor, up
from podpower.cli.supervisor import Processes
from podpower.errors import PodpowerError
from podpower.fleet.budgets import annotated_budgets
from podpower.fleet.observed import observed_at
from podpower.settings import Settings
from podpower.sources.journal.reader import JournalReader
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, write_kubeconfig


def names(place: Path) -> set[str]:
    """Namespace and name of the deployments in a journal; none before it is there."""
    try:
        reader = JournalReader(place)
        events = list(reader.events(start_s=0.0, end_s=time.time() + 60))
    except PodpowerError:
        return set()
    metadata = [event.object["metadata"] for event in events if event.object["kind"] == "Deployment"]
    return {f"{one['namespace']}/{one['name']}" for one in metadata}


def test_each_cluster_has_its_collector_and_one_that_is_away_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (60.0,))
    with FakeCluster() as eu_1, FakeCluster() as eu_2:
        eu_1.add(deployment("web"))
        budget = {"name": "shop", "annotations": {"podpower.dev/budget-watts": "250"}}
        eu_1.add({"apiVersion": "v1", "kind": "Namespace", "metadata": budget})
        for namespace in ("shop", "other"):
            eu_2.add({**deployment("db"), "metadata": {**deployment("db")["metadata"], "namespace": namespace}})
        for name, cluster in (("one", eu_1), ("two", eu_2)):
            write_kubeconfig(tmp_path / name, cluster.url)
        (tmp_path / "clusters.yaml").write_text(
            "clusters:\n"
            f"- {{name: eu-1, kubeconfig: {tmp_path}/one, kinds: [v1/namespaces]}}\n"
            f"- {{name: away, kubeconfig: {tmp_path}/none}}\n"
            f"- {{name: eu-2, kubeconfig: {tmp_path}/two, namespaces: [shop]}}\n"
        )
        environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith(("PODPOWER_", "KUBE"))},
            "PODPOWER_CLUSTERS": str(tmp_path / "clusters.yaml"),
            "PODPOWER_HOME": str(tmp_path / "home"),
        }
        journals = {"eu-1": tmp_path / "home/journal", "eu-2": tmp_path / "home/clusters/eu-2/journal"}
        wanted = {"eu-1": {"shop/web"}, "eu-2": {"shop/db"}}
        with Processes(logs=tmp_path / "logs", environment=environment) as children:
            up._collect_several(children, Settings(environment), starts=True)
            deadline = time.monotonic() + 60
            while {name: names(place) for name, place in journals.items()} != wanted:
                children.supervise(lambda _note: None, lambda _reason: None)
                assert time.monotonic() < deadline, children.log("collector-eu-2").read_text()
                time.sleep(0.2)
            children.check()  # that of `away` has ended, and counts for itself
        assert "no kubeconfig at" in (tmp_path / "logs" / "collector-away.log").read_text()
        events = JournalReader(journals["eu-1"]).events(start_s=0.0, end_s=time.time() + 60)
        assert annotated_budgets(events) == {"shop": 250.0}
        assert observed_at(str(journals["eu-2"])).cluster == "eu-2"
