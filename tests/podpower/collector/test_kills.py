"""Observers that are killed again and again: every event of the server is written once, and nothing else is.

PODPOWER_KILLS sets how many kills there are in all.
"""

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podpower.hours import HOUR_S, hour_start_s
from podpower.sources.journal.reader import JournalReader
from tests.clusters import observers
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, write_kubeconfig

KILLS = int(os.environ.get("PODPOWER_KILLS", "200"))
KINDS = ("Deployment", "Job", "Pod")
Event = tuple[str, str, str]  # type, uid, resourceVersion


class Storm:
    """Makes, changes and deletes objects in a thread of its own, until it is stopped."""

    def __init__(self, cluster: FakeCluster, seed: int) -> None:
        self._cluster, self._random = cluster, random.Random(seed)
        self._alive: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Storm":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._random.expovariate(40)):
            number += 1
            self._step(number)

    def _step(self, number: int) -> None:
        chance, kind, name = self._random.random(), self._random.choice(KINDS), f"w{self._random.randrange(4)}"
        if chance < 0.03:
            self._cluster.cut(mid_line=chance < 0.01)
        elif chance < 0.08:
            self._cluster.bookmark()
        elif (kind, name) not in self._alive:
            self._alive.add((kind, name))
            self._cluster.add(made(kind, name, number))
        elif chance < 0.6:
            self._cluster.update(made(kind, name, number if chance < 0.5 else 0))
        else:
            self._alive.remove((kind, name))
            self._cluster.delete(kind, "shop", name, gracefully=chance < 0.8)


def made(kind: str, name: str, number: int) -> dict[str, Any]:
    """An object of the kind; a few have the same content as one before."""
    obj = deployment(name, image=f"a:{number % 3}", N=str(number))
    if kind == "Pod":
        return {**obj, "apiVersion": "v1", "kind": kind, "spec": obj["spec"]["template"]["spec"]}
    return {**obj, "apiVersion": "batch/v1", "kind": kind} if kind == "Job" else obj


def happened(cluster: FakeCluster) -> list[tuple[Event, dict[str, Any]]]:
    """Every event of the server, with the object."""
    found = []
    for resource in cluster._resources:
        for verb, entry, _old in resource.log:
            obj = json.loads(entry.full)
            found.append(((verb.decode(), obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]), obj))
    return sorted(found, key=lambda one: int(one[0][2]))


def last_of_each(events: list[Event]) -> dict[str, tuple[str, str]]:
    return {uid: (type_, version) for type_, uid, version in events}


def until(holds: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert process.is_alive(), f"it ended with {process.exitcode}"
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


def kill_again_and_again(
    start: Callable[[int, int | None], Any], cluster: FakeCluster, *, kills: int, longest_s: float,
    read: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Start a process again and again; half are killed after a random time, half at a random line of what writes."""
    chance = random.Random(3)
    for number in range(kills):
        before, began_s = len(cluster.requests), time.monotonic()
        process = start(number, chance.randrange(1, 150) if number % 2 else None)
        deadline = time.monotonic() + 120
        while process.is_alive() and len(cluster.requests) < before + len(KINDS):
            assert time.monotonic() < deadline, "it does not ask the server"
            time.sleep(0.01)
        while_s = max(longest_s, 2 * (time.monotonic() - began_s))  # a slow machine is to come as far
        process.join(2 * while_s if number % 2 else chance.uniform(0.0, while_s))
        process.kill()
        process.join()
        assert process.exitcode == -9
        read()


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


def output_lines(path: Path) -> list[Event]:
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""  # the last line may be half written
    found = map(json.loads, whole.splitlines())
    return [(line["event"], line["uid"], line["resource_version"]) for line in found]


def journal_lines(root: Path) -> list[Event]:
    """Every event of the journal, compacted or not."""
    if not (root / "journal.json").exists():
        return []
    reader = JournalReader(root)
    begun = reader.files.hours()[0]
    compacted = [part for hour in reader.files.hours() if (part := reader.compacted(hour))]
    reached = max((part.header.sequence for part in compacted), default=0)
    parts = [*compacted, *(part for _, part in reader.parts_after(reached, hour=begun))]
    found = [(line.type, line.object["metadata"]) for part in parts for line in part.events()]
    assert reader.damaged == []
    return [(type_, metadata["uid"], metadata["resourceVersion"]) for type_, metadata in found]


def assert_exact(lines: list[Event], truth: list[Event]) -> None:
    assert Counter(lines) == Counter(truth)
    assert last_of_each(lines) == last_of_each(truth)


def finish(process: Any, holds: Callable[[], bool]) -> None:
    try:
        until(holds, process)
    finally:
        process.kill()
        process.join()


@pytest.mark.timeout(1200)  # a minute of work for all three on an idle machine
@pytest.mark.parametrize("journal", [False, True], ids=["output", "output and journal"])
def test_a_watch_that_is_killed_writes_every_event_once(cluster: FakeCluster, tmp_path: Path, journal: bool) -> None:
    config, out, state = write_kubeconfig(tmp_path / "config", cluster.url), tmp_path / "o", tmp_path / "o.state"
    root = tmp_path / "journal"
    options = ["--kubeconfig", str(config), "--output", str(out), "--kinds", *KINDS]
    options += ["--journal", str(root), "--flush-every", "0.02"] if journal else []

    def start(_number: int = 0, die_at: int | None = None) -> Any:
        return observers.start(observers.watch, *options, folder=tmp_path, die_at=die_at)

    def begun() -> bool:
        listed = state.exists() and all(f"/{kind.lower()}s@" in state.read_text() for kind in KINDS)
        return listed and (not journal or (root / "journal.json").exists())

    finish(start(), begun)
    with Storm(cluster, seed=1):
        kill_again_and_again(start, cluster, kills=KILLS // 3, longest_s=0.4)
    truth = [event for event, _ in happened(cluster)]
    changes = changes_of_content(happened(cluster)) if journal else []
    finish(start(), lambda: len(output_lines(out)) >= len(truth) and len(journal_lines(root)) >= len(changes))
    assert_exact(output_lines(out), truth)
    assert_exact(journal_lines(root), changes)
    assert "Traceback" not in (tmp_path / "stderr").read_text()


@pytest.mark.timeout(1200)
def test_a_journal_whose_writer_is_killed_has_every_event_once(cluster: FakeCluster, tmp_path: Path) -> None:
    config, root = write_kubeconfig(tmp_path / "config", cluster.url), tmp_path / "journal"
    options = ["--kubeconfig", str(config), "--journal", str(root), "--kinds", *KINDS]
    kills = KILLS - 2 * (KILLS // 3)

    def start(number: int = 0, die_at: int | None = None) -> Any:
        later_s = 240.0 * number  # fifteen kills an hour
        return observers.start(observers.collect, later_s, 0.02, *options, folder=tmp_path, die_at=die_at)

    finish(start(), (root / "journal.json").exists)
    seen: list[Event] = []
    read = reads_of(root, seen)
    with Storm(cluster, seed=2):
        kill_again_and_again(start, cluster, kills=kills, longest_s=0.4, read=read)
    truth = changes_of_content(happened(cluster))
    finish(start(kills), lambda: len(journal_lines(root)) >= len(truth))
    read()
    assert_exact(journal_lines(root), truth)
    assert_exact(seen, truth)
    assert list(tmp_path.rglob("*.part")) == []
    assert len(JournalReader(root).files.hours()) > kills // 20
    assert JournalReader(root).files.flushes()[-1] > kills  # they were killed while they wrote
    assert alive(root) == {uid for uid, (type_, _) in last_of_each(truth).items() if type_ != "DELETED"}
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def reads_of(root: Path, seen: list[Event]) -> Callable[[], None]:
    """A reader that adds what is new to `seen` at each call; its cursor is all that it keeps."""
    cursor: list[str] = []

    def read() -> None:
        reader = JournalReader(root)
        changes, after = reader.changes(cursor[0] if cursor else None)
        found = [(change.type, change.object["metadata"]) for change in changes]
        seen.extend((type_, metadata["uid"], metadata["resourceVersion"]) for type_, metadata in found)
        cursor[:] = [after]
        assert reader.damaged == []

    return read


def changes_of_content(events: list[tuple[Event, dict[str, Any]]]) -> list[Event]:
    """Without those that change nothing but the version."""
    found, last = [], {}
    for event, obj in events:
        deleting = obj["metadata"].get("deletionTimestamp")  # a graceful deletion is a change that the journal keeps
        content = msgspec.json.encode({**obj, "metadata": [obj["metadata"]["name"], deleting]})
        if event[0] == "DELETED" or last.get(event[1]) != content:
            found.append(event)
        last[event[1]] = content
    return found


def alive(root: Path) -> set[str]:
    """Objects that the journal's readers find alive at its end: those of the last snapshot, and what came after it."""
    reader, found = JournalReader(root), set()
    begin_s = hour_start_s(reader.files.hours()[-1])
    for event in reader.events(start_s=begin_s, end_s=begin_s + 2 * HOUR_S):
        uid = event.object["metadata"]["uid"]
        found.discard(uid) if event.type == "DELETED" else found.add(uid)
    return found
