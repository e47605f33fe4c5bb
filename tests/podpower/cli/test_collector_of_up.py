"""The collector that `podpower up` starts: a process of its own, which is restarted and continues its journal."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podpower.cli import supervisor
from podpower.cli.supervisor import Processes
from podpower.cli.up import _collect
from podpower.errors import Unavailable
from podpower.sources.journal.reader import JournalReader
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, write_kubeconfig


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


def test_the_collector_of_up_is_restarted_and_continues(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (0.1, 0.1))
    journal = tmp_path / "journal"
    environment = {**os.environ, "KUBECONFIG": str(write_kubeconfig(tmp_path / "config", cluster.url))}
    cluster.add(deployment("web"))
    notes: list[str] = []
    found: list[str] = []
    cursor = None

    def read(children: Processes, number: int) -> None:
        nonlocal cursor
        deadline = time.monotonic() + 60
        while len(found) < number:
            assert time.monotonic() < deadline, notes
            children.supervise(notes.append, notes.append)
            time.sleep(0.1)
            try:
                changes, cursor = JournalReader(journal).changes(cursor)
            except Unavailable:
                continue
            found.extend(change.object["spec"]["template"]["spec"]["containers"][0]["image"] for change in changes)

    with Processes(logs=tmp_path / "logs", environment=environment) as children:
        _collect(children, str(journal), starts=True)
        read(children, 1)
        [collector] = children._children
        collector.process.kill()
        cluster.update(deployment("web", image="a:1"))
        read(children, 2)
    assert found == ["nginx:1.27", "a:1"]
    assert any("collector" in note and "restarting" in note for note in notes)


def test_without_its_own_collector_up_reads_the_journal_of_another(tmp_path: Path) -> None:
    with Processes(logs=tmp_path / "logs", environment={}) as children:
        _collect(children, str(tmp_path / "journal"), starts=False)
        assert children._children == []
