"""The journal on folders and an S3 server: compaction, cursors, damage, gaps, migration, and one writer."""

import asyncio
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podpower.collector.journal import Journal
from podpower.collector.known import Change
from podpower.collector.loading import load
from podpower.collector.single_writer import Locked
from podpower.collector.steady_clock import SteadyClock
from podpower.errors import InvalidInput, Unavailable
from podpower.fleet.observed import observed_at
from podpower.hours import DAY_S, HOUR_S, hour_name
from podpower.io.retries import Backoff
from podpower.kubernetes.kinds import KINDS, OBSERVED
from podpower.labels.owners import owners_from_specs, with_owners
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.reader import JournalReader
from podpower.sources.kubernetes import identity
from podpower.sources.kubernetes.list_watch import Stream
from podpower.sources.protocols import ObjectEvent
from podpower.sources.recording import Meta
from podpower.sources.writing import RecordingWriter
from podpower.specs.observing import observe
from podpower.specs.table import specs_table
from tests.clusters import observers
from tests.clusters.collecting import Collector
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, write_kubeconfig
from tests.waiting import until

STREAM = Stream(kind=KINDS["Deployment"])
START_S = 1_790_000_000.0 // HOUR_S * HOUR_S + 600.0


class Writer:
    """A journal that takes changes of Deployments without a cluster, at a time of its own."""

    def __init__(self, url: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.now_s, self.version = url, START_S, 0
        self.events: list[tuple[str, str, str]] = []  # type, uid, version of each event after the beginning
        self.alive: set[str] = set()
        monkeypatch.setattr(time, "time", lambda: self.now_s)
        self._open()
        self.flush()

    def change(self, uid: str) -> None:
        """Add, change or delete an object."""
        self.version += 1
        type_: Any = "ADDED" if uid not in self.alive else "DELETED" if self.version % 3 == 0 else "MODIFIED"
        (self.alive.discard if type_ == "DELETED" else self.alive.add)(uid)
        obj = deployment(uid, image=f"a:{self.version}")
        obj["metadata"] |= {"uid": uid, "resourceVersion": str(self.version)}
        asyncio.run(self.journal.take(Change(stream=STREAM, type=type_, object=obj)))
        self.events.append((type_, uid, str(self.version)))

    def flush(self, *, drains: bool = True) -> None:
        """Store what was taken."""
        self.journal.checkpoint({STREAM.key: str(self.version)})
        if drains:
            asyncio.run(self.journal.drain())

    def reopen(self) -> None:
        """End, and start again from what was stored."""
        self.flush()
        self.close()
        self._open()

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def _open(self) -> None:
        self._opened = Journal.opened(self.url, cluster="c")
        self.journal = self._opened.__enter__()
        self.journal._streams = [STREAM.key]


class Reader:
    """Keeps nothing but its cursor between two reads."""

    def __init__(self, url: Path | str) -> None:
        self._url, self.cursor = url, None
        self.seen: list[tuple[str, str, str]] = []

    def read(self) -> None:
        reader = JournalReader(self._url)
        found, self.cursor = reader.changes(self.cursor)
        self.seen += map(key, found)
        assert reader.damaged == []


def key(event: ObjectEvent) -> tuple[str, str, str]:
    metadata = event.object["metadata"]
    return event.type, metadata["uid"], metadata["resourceVersion"]


def in_order_of_each(events: list[tuple[str, str, str]]) -> dict[str, list[tuple[str, str, str]]]:
    """The events of each object; of several objects in one flush, owners come first and deletions last."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for event in events:
        found.setdefault(event[1], []).append(event)
    return found


def alive_at(url: Path | str, ts: float) -> set[str]:
    found = JournalReader(url).events(start_s=ts, end_s=ts)
    return {event.object["metadata"]["uid"] for event in found}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from("abc")),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("later"), st.sampled_from([1200.0, 3600.0, 9000.0])),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("read"), st.sampled_from([0, 1])),
    ),
    min_size=15,
    max_size=40,
)


@settings(max_examples=40)
@given(steps=STEPS)
def test_each_reader_gets_each_event_once_whatever_is_compacted(
    steps: list[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = tmp_path_factory.mktemp("journal")
    with pytest.MonkeyPatch.context() as monkeypatch:
        writer = Writer(url, monkeypatch)
        readers = [Reader(url), Reader(url)]
        states: list[tuple[float, set[str]]] = []
        for step, value in steps:
            if step == "change":
                writer.change(value)
            elif step == "flush":
                writer.flush()
            elif step == "later":
                writer.flush()
                states.append((writer.now_s + 1.0, set(writer.alive)))
                writer.now_s += value
            elif step == "reopen":
                writer.reopen()
            else:
                readers[value].read()
        writer.flush()
        for reader in (*readers, late := Reader(url)):
            reader.read()
            assert in_order_of_each(reader.seen) == in_order_of_each(writer.events)
        assert readers[0].seen == readers[1].seen == late.seen
        for ts, alive in states:
            assert alive_at(url, ts) == alive
        ended = [hour for hour in JournalReader(url).files.hours() if hour < hour_name(writer.now_s)]
        assert all(JournalReader(url).compacted(hour) for hour in ended)
        writer.close()


def test_a_clock_that_jumps_ahead_removes_no_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path / "journal", monkeypatch)
    writer.change("a")
    writer.now_s += HOUR_S
    writer.flush()
    before = JournalFiles(writer.url).hours()
    writer.now_s += 40 * 24 * HOUR_S
    writer.flush()
    assert JournalFiles(writer.url).hours()[:-1] == before
    writer.close()


def test_a_clock_that_jumped_ahead_and_back_is_a_gap_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path / "journal", monkeypatch)
    writer.now_s += 3 * HOUR_S
    writer.flush()
    writer.now_s -= 3 * HOUR_S
    assert "ahead of the clock" in str(JournalReader(writer.url).stale())
    writer.change("a")
    writer.flush(drains=False)
    assert writer.journal._is_due(writer.journal._queue[0])
    writer.flush()
    assert "ahead of the clock" in str(JournalReader(writer.url).stale())
    [gap] = JournalReader(writer.url).gaps(start_s=0.0, end_s=writer.now_s + DAY_S)
    assert (gap.start_s, gap.reason) == (writer.now_s, "the clock jumped back")
    assert hour_name(gap.end_s) == hour_name(writer.now_s + 3 * HOUR_S)
    writer.now_s += 3 * HOUR_S
    writer.flush()
    assert JournalReader(writer.url).stale() is None
    writer.close()


def test_a_clock_that_jumps_ahead_for_a_moment_begins_no_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path / "journal", monkeypatch)
    elapsed_s = 0.0
    clock = SteadyClock(elapsed_s=lambda: elapsed_s)
    writer.journal._clock = clock
    writer.now_s += 40 * DAY_S
    elapsed_s += 5.0
    writer.flush()
    assert JournalFiles(writer.url).hours() == [hour_name(START_S)]
    writer.now_s -= 40 * DAY_S - 10.0
    elapsed_s += 5.0
    assert clock() == START_S + 10.0
    # One that stays there is followed after a while.
    writer.now_s += HOUR_S
    assert clock() == START_S + 10.0
    for _ in range(70):
        writer.now_s += 10.0
        elapsed_s += 10.0
        clock()
    assert clock() == writer.now_s
    writer.close()


def test_a_clock_that_runs_fast_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    elapsed_s = 0.0
    monkeypatch.setattr(time, "time", lambda: START_S + 10.0 * elapsed_s)
    clock = SteadyClock(elapsed_s=lambda: elapsed_s)
    for _ in range(100):
        elapsed_s += 10.0
        assert clock() == START_S + 10.0 * elapsed_s


def test_a_cursor_inside_an_hour_continues_there_when_its_flushes_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path, monkeypatch)
    readers = [Reader(tmp_path) for _ in range(5)]
    for number, reader in enumerate(readers):
        reader.read()
        writer.change("abc"[number % 3])
        writer.flush()
    for _ in range(2):
        writer.now_s += HOUR_S
        writer.flush()
    assert JournalReader(tmp_path).files.flushes()[0] > len(readers)
    for reader in readers:
        reader.read()
        assert reader.seen == writer.events
    writer.close()


@pytest.mark.parametrize("hours", [0, 1, 2])
def test_a_writer_that_starts_again_knows_what_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    writer = Writer(tmp_path, monkeypatch)
    for uid in "aabbb":  # b is deleted
        writer.change(uid)
        writer.flush()
    writer.now_s += hours * HOUR_S
    writer.reopen()
    known = writer.journal.known(STREAM)
    assert known.alive == {uid: version for type_, uid, version in writer.events if uid in writer.alive}
    for _ in range(2):
        writer.now_s += HOUR_S
        writer.flush()
        assert alive_at(tmp_path, writer.now_s) == writer.alive
    writer.close()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    """A journal of three hours, two of them compacted."""
    writer = Writer(tmp_path / "journal", monkeypatch)
    for number in range(12):
        writer.change("abcde"[number % 5])
        writer.flush()
        writer.now_s += 900.0
    writer.flush()
    yield writer
    writer.close()


def read_all(url: Path) -> tuple[list[Any], list[str]]:
    """Everything that readers and the writer read of a journal, and what they name as damaged."""
    reader = JournalReader(url)
    events = list(reader.events(start_s=START_S, end_s=START_S + 4 * HOUR_S))
    later = list(reader.events(start_s=START_S + 2 * HOUR_S, end_s=START_S + 4 * HOUR_S))
    state = load(reader, now_s=time.time())
    changes, _ = reader.changes(None)
    found = [[(event.ts, key(event)) for event in part] for part in (events, later, changes)]
    found.append(sorted(state.objects.alive.items()) if state else [])  # type: ignore[arg-type]
    for hour in reader.files.hours():
        reader.snapshot(hour)
        reader.compacted(hour)
    return found, reader.damaged


def test_a_changed_bit_anywhere_is_named(written: Writer, tmp_path: Path) -> None:
    root = Path(written.url)
    right, damaged = read_all(root)
    assert damaged == []
    chance = random.Random(1)
    objects = [path for path in root.rglob("*") if path.is_file() and path.name != "journal.lock"]
    first = min(int(path.stem) for path in (root / "flushes").iterdir())
    assert first > 1
    for path in objects * 12:
        data = path.read_bytes()
        bit = chance.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found: list[Any] = []
        try:
            found, damaged = read_all(root)
        except InvalidInput as error:
            damaged = [str(error)]
        still_used = found == right and path.parent.name == "flushes"  # a flush of a compacted hour is not read
        assert still_used or any(str(path) in line for line in damaged), (path, bit)
        path.write_bytes(data)


def test_a_damaged_line_costs_that_line_only(written: Writer) -> None:
    path = Path(written.url) / "hours" / hour_name(START_S) / "events.ndjson"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"Deployment", b"Deploymenu")
    path.write_bytes(b"".join(lines))
    reader = JournalReader(written.url)
    found = list(map(key, reader.changes(None)[0]))
    assert reader.damaged == [f"{path}: line 3 is damaged"]
    assert found == [event for event in written.events if event != written.events[1]]


def test_a_missing_flush_is_named_and_the_rest_is_read(written: Writer) -> None:
    written.change("x")
    written.flush()
    written.change("y")
    written.flush()
    newest = sorted((Path(written.url) / "flushes").iterdir())
    newest[-2].unlink()
    reader = JournalReader(written.url)
    found = list(map(key, reader.changes(None)[0]))
    assert found == [event for event in written.events if event[1] != "x"]
    assert [line for line in reader.damaged if "are missing" in line]


def test_an_hour_whose_flushes_are_damaged_is_a_gap(written: Writer) -> None:
    hour_s = written.now_s // HOUR_S * HOUR_S
    written.change("x")
    written.flush()
    newest = sorted((Path(written.url) / "flushes").iterdir())[-1]
    newest.write_bytes(newest.read_bytes().replace(b"Deployment", b"Deploymenu", 1))
    for hours in (1, 2, 3):  # it is remembered in later hours, also by a writer that starts again
        written.now_s = hour_s + hours * HOUR_S + 60.0
        written.change(f"later-{hours}")
        written.reopen()
        [gap] = observed_at(str(written.url)).gaps
        assert (gap.start_s, gap.end_s) == (hour_s, hour_s + HOUR_S)
        assert "damaged" in gap.reason


def test_a_journal_whose_last_header_is_damaged_repeats_nothing(cluster: FakeCluster, tmp_path: Path) -> None:
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    cluster.add(deployment("web"))
    cluster.add(deployment("gone"))
    collector.collect()
    cluster.update(deployment("web", image="a:1"))
    cluster.delete("Deployment", "shop", "gone")
    collector.collect()
    newest = max((tmp_path / "journal" / "flushes").iterdir())
    while b'"MODIFIED"' not in newest.read_bytes():  # the flushes behind it only say that the writer ended
        newest.unlink()
        newest = max((tmp_path / "journal" / "flushes").iterdir())
    newest.write_bytes(newest.read_bytes().replace(b'"versions"', b'"verzions"', 1))
    cluster.update(deployment("web", image="a:2"))
    assert collector.collect() == 1
    assert any("header is damaged" in note for note in collector.notes)
    seen = Counter(map(key, JournalReader(collector.url).changes(None)[0]))
    assert set(seen.values()) == {1}


@pytest.fixture
def cluster(half_past: Callable[[], float]) -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


def test_what_could_not_be_seen_is_a_gap(cluster: FakeCluster, tmp_path: Path) -> None:
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    before_s = time.time()
    collector.collect()
    assert JournalReader(collector.url).gaps(start_s=0.0, end_s=time.time()) == []
    cluster.forget("Deployment")
    collector.collect()
    [gap] = JournalReader(collector.url).gaps(start_s=0.0, end_s=time.time() + 1)
    assert (gap.stream, gap.reason) == ("apps/v1/deployments@", "the server no longer had the changes")
    assert before_s <= gap.start_s <= gap.end_s <= time.time()
    assert JournalReader(collector.url).gaps(start_s=0.0, end_s=before_s) == []
    assert collector.metric("podpower_journal_gaps_total") == 1
    assert collector.metric("podpower_journal_gap_seconds_total") == pytest.approx(gap.end_s - gap.start_s)


def test_metrics_show_flushes_compaction_and_lag(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    cluster.add(deployment("web"))
    collector.collect()
    assert collector.metric("podpower_watch_events_total") == 1
    assert collector.metric("podpower_watch_lists_total") == 8
    assert collector.metric("podpower_journal_flushes_total") >= 1
    assert collector.metric("podpower_journal_last_flush_timestamp_seconds") == pytest.approx(time.time(), abs=30)
    assert 0.0 <= collector.metric("podpower_journal_lag_seconds") < 30.0
    assert collector.metric("podpower_journal_waiting_events") == 0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + HOUR_S)
    collector.collect()
    assert collector.metric("podpower_journal_compacted_hours_total") == 1


def test_gaps_are_remembered_in_later_hours(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    collector.collect()
    cluster.forget()
    collector.collect()
    gaps = JournalReader(collector.url).gaps(start_s=0.0, end_s=time.time() + 1)
    assert len(gaps) == 8
    real = time.time
    for hours in (1, 2):
        monkeypatch.setattr(time, "time", lambda h=hours: real() + h * HOUR_S)
        collector.collect()
        assert JournalReader(collector.url).gaps(start_s=0.0, end_s=time.time()) == gaps


@pytest.mark.parametrize("running", [True, False], ids=["while it is watched", "between two watches"])
def test_a_cluster_that_is_rebuilt_is_listed_again(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    monkeypatch.setattr(identity, "_LOOK_S", 0.1)
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    cluster.add(deployment("old"))
    collector.collect()
    _, cursor = JournalReader(collector.url).changes(None)
    if running:
        with collector.running() as journal:
            collector.catch_up(journal)
            cluster.rebuild()
            cluster.add(deployment("new"))
            until(lambda: len(journal._objects.alive) == 1 and "new" in str(journal._objects.alive))
            collector.catch_up(journal)
    else:
        cluster.rebuild()
        cluster.add(deployment("new"))
        collector.collect()
    found, _ = JournalReader(collector.url).changes(cursor)
    assert {(e.type, e.object["metadata"]["name"]) for e in found} == {("DELETED", "old"), ("ADDED", "new")}
    assert any("was rebuilt" in note for note in collector.notes)
    reasons = {gap.reason for gap in JournalReader(collector.url).gaps(start_s=0.0, end_s=time.time() + 1)}
    assert reasons == {"the cluster was rebuilt"}


def test_a_cluster_that_is_rebuilt_while_the_store_is_away_loses_nothing(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_LOOK_S", 0.1)
    monkeypatch.setattr("podpower.collector.watch._FINISH_S", 0.5)
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    collector.collect()
    _, cursor = JournalReader(collector.url).changes(None)
    with collector.running() as journal:
        collector.catch_up(journal)
        (tmp_path / "journal").rename(tmp_path / "away")
        (tmp_path / "journal").write_text("no folder")
        cluster.add(deployment("old"))
        until(lambda: any("cannot be written" in note for note in collector.notes))
        cluster.rebuild()
        cluster.add(deployment("new"))
        until(lambda: len(journal._objects.alive) == 1 and "new" in str(journal._objects.alive))
        (tmp_path / "journal").unlink()
        (tmp_path / "away").rename(tmp_path / "journal")
        collector.catch_up(journal)
    found, _ = JournalReader(collector.url).changes(cursor)
    names = [(e.type, e.object["metadata"]["name"]) for e in found]
    assert names == [("ADDED", "old"), ("ADDED", "new"), ("DELETED", "old")]
    assert collector.metric("podpower_journal_waiting_events") == 0


def test_steps_of_a_rebuilt_cluster_have_the_spec_of_the_pod_that_lived_then(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """Pods of StatefulSets and of nodes have the same names in both clusters. The old one is seen to be gone after the
    new one was made.
    """
    collector, now_s = Collector(cluster, tmp_path / "journal", tmp_path), time.time()
    cluster.add(database("postgres:16", made_s=now_s - 7200))
    collector.collect()
    cluster.rebuild()
    cluster.add(database("postgres:17", made_s=now_s - 100))
    collector.collect()
    events = JournalReader(collector.url).events(start_s=now_s - 7200, end_s=time.time() + 1)
    observed, rejected = observe(events, start_s=now_s - 7200, end_s=time.time() + 1, cluster="c")
    owners = owners_from_specs(specs_table(observed))
    steps = pl.DataFrame({"namespace": "shop", "pod": "db-0", "ts": [now_s - 1000, now_s - 150, now_s - 90, now_s]})
    found = with_owners(steps, owners=[owners], step_seconds=15.0)
    images = {one.spec_hash: one.request.containers[0].image for one in observed}
    assert [images[one] for one in found["_spec_hash"]] == ["postgres:16", "postgres:16", "postgres:17", "postgres:17"]
    assert rejected == []


def database(image: str, *, made_s: float) -> dict[str, Any]:
    made = datetime.fromtimestamp(made_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {"name": "db-0", "namespace": "shop", "creationTimestamp": made}
    spec = {"containers": [{"name": "main", "image": image}], "nodeName": "n"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}}


def test_without_the_right_to_read_the_namespace_the_watch_goes_on(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.forbid("namespaces")
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    cluster.add(deployment("web"))
    assert collector.collect() == 1
    assert any("a rebuilt cluster will not be noticed" in note for note in collector.notes)


def test_a_store_that_is_away_loses_nothing(cluster: FakeCluster, tmp_path: Path) -> None:
    root = tmp_path / "journal"
    collector = Collector(cluster, root, tmp_path)
    with collector.running() as journal:
        collector.catch_up(journal)
        until((root / "journal.json").exists)
        shutil.move(root / "flushes", tmp_path / "away")
        (root / "flushes").symlink_to(tmp_path / "nowhere" / "at all")
        for number in range(3):
            cluster.update(deployment("web", image=f"a:{number}")) if number else cluster.add(deployment("web"))
        until(lambda: any("trying again" in note for note in collector.notes))
        (root / "flushes").unlink()
        shutil.move(tmp_path / "away", root / "flushes")
        collector.catch_up(journal)
    assert [event.type for event in JournalReader(root).changes(None)[0]] == ["ADDED", "MODIFIED", "MODIFIED"]


def test_a_journal_is_stale_after_two_minutes_without_its_collector(written: Writer) -> None:
    assert JournalReader(written.url).stale() is None
    written.now_s += 90.0
    assert JournalReader(written.url).stale() is None
    written.now_s += 60.0
    assert "podpower collect watch --journal" in str(JournalReader(written.url).stale())


def test_a_server_that_does_not_answer_makes_the_journal_stale(cluster: FakeCluster, tmp_path: Path) -> None:
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    with collector.running() as journal:
        collector.catch_up(journal)
        until((tmp_path / "journal" / "journal.json").exists)
        cluster.fail_next(503, count=10_000)
        cut_s = time.time()
        cluster.cut()
        until(lambda: sum("resuming" in note for note in collector.notes) >= 8)
        stored = len(JournalReader(collector.url).files.flushes())
        until(lambda: len(JournalReader(collector.url).files.flushes()) > stored + 1)
        assert JournalReader(collector.url).reached_s() <= cut_s + 0.5
        cluster._failures.clear()
        collector.catch_up(journal)
        until(lambda: JournalReader(collector.url).reached_s() > cut_s + 0.5)


def test_a_journal_of_an_earlier_version_is_migrated(cluster: FakeCluster, tmp_path: Path) -> None:
    root = tmp_path / "journal"
    stored = [cluster.add(deployment(name)) for name in ("stays", "goes")]
    collector = Collector(cluster, root, tmp_path)
    versions = dict.fromkeys((stream.key for stream in streams(collector)), str(cluster.version))
    hours_s = [time.time() // HOUR_S * HOUR_S - hours * HOUR_S for hours in (3, 1)]
    writer = RecordingWriter(root)
    writer.meta(
        Meta(recording_id="old", cluster=collector.access.cluster, kepler="", scrape_interval_s=0.0,
             start_s=hours_s[0], end_s=hours_s[1] + 1800.0)
    )  # fmt: skip
    events = [ObjectEvent(ts=hours_s[0] - 50.0, type="ADDED", object=obj) for obj in stored[:1]]
    writer.snapshot(hours_s[0], events)
    writer.events([ObjectEvent(ts=hours_s[0] + 5.0, type="ADDED", object=stored[1])])
    writer.snapshot(hours_s[1], [*events, ObjectEvent(ts=hours_s[0] + 5.0, type="ADDED", object=stored[1])])
    writer.events([ObjectEvent(ts=hours_s[1] + 5.0, type="MODIFIED", object=stored[1])])
    (root / "versions.json").write_bytes(msgspec.json.encode(versions))
    with pytest.raises(InvalidInput, match="migrates a journal"):
        JournalReader(root)
    cluster.delete("Deployment", "shop", "goes")
    before = len(cluster.requests)
    assert collector.collect() == 1
    assert all("watch" in r.params for r in cluster.requests[before:] if "namespaces" not in r.path)
    assert "migrated 2 hours" in collector.notes[0]
    assert sorted(path.name for path in root.iterdir()) == ["flushes", "hours", "journal.json", "journal.lock"]
    found = [(e.type, e.object["metadata"]["name"]) for e in JournalReader(root).changes(None)[0]]
    assert found == [("ADDED", "stays"), ("ADDED", "goes"), ("MODIFIED", "goes"), ("DELETED", "goes")]
    old_cursor = f'{{"recording_id":"old","hour":"{hour_name(hours_s[1])}","offset":17}}'
    found = [(e.type, e.object["metadata"]["name"]) for e in JournalReader(root).changes(old_cursor)[0]]
    assert found == [("MODIFIED", "goes"), ("DELETED", "goes")]
    assert len(alive_at(root, hours_s[1])) == 2


def streams(collector: Collector) -> list[Stream]:
    return [Stream(kind=kind) for kind in OBSERVED]


def test_of_two_writers_on_an_object_store_the_second_is_refused(
    cluster: FakeCluster, tmp_path: Path, s3_url: str
) -> None:
    first, second = (Collector(cluster, f"{s3_url}/journal", tmp_path) for _ in range(2))
    cluster.add(deployment("web"))
    with first.running(flush_s=0.1) as journal:
        first.catch_up(journal)
        until(lambda: journal._flusher._sequence > 1)
        with pytest.raises(Locked), second.running():
            raise AssertionError("it was let in")
        cluster.add(deployment("more"))
        first.catch_up(journal)
    assert first.failed == []
    assert len(JournalReader(first.url).changes(None)[0]) == 2


def test_a_writer_that_was_paused_while_another_came_is_refused_at_its_next_flush(
    written: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Writer.__new__(Writer)
    copy.__dict__ |= written.__dict__ | {"journal": written.journal}
    monkeypatch.setattr("podpower.collector.journal.locked", lambda files: None)  # as on an object store
    written.close()
    written._open()
    written.change("x")
    written.flush()
    paused = copy.journal
    paused.checkpoint({STREAM.key: "99"})
    with pytest.raises(Locked):
        asyncio.run(paused.drain())


class LosesAnswers(JournalFiles):
    """Stores objects, but its answer to every second one is lost."""

    created = 0

    def create(self, name: str, data: bytes) -> bool:
        self.created += 1
        stored = super().create(name, data)
        if self.created % 2 and stored:
            raise Unavailable("the connection broke")
        return stored


def test_a_lost_answer_is_not_taken_for_another_writer(written: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(_backoff: Backoff) -> float:
        written.now_s += 90.0
        return 0.0

    monkeypatch.setattr(Backoff, "next_s", wait)
    written.journal._flusher._files = LosesAnswers(written.url)
    for _ in range(4):
        written.change("x")
        written.flush()
    reader = Reader(written.url)
    reader.read()
    assert reader.seen == written.events


def test_processes_that_share_only_a_url(cluster: FakeCluster, tmp_path: Path, s3_url: str) -> None:
    url = f"{s3_url}/home/journal"
    options = ["--kubeconfig", str(write_kubeconfig(tmp_path / "config", cluster.url)), "--journal", url]
    seen: list[tuple[str, str, str]] = []
    cursor = None

    def start() -> Any:
        return observers.start(observers.collect, 0.0, 0.1, *options, folder=tmp_path)

    def read(number: int) -> bool:
        nonlocal cursor
        try:
            found, cursor = JournalReader(url).changes(cursor)
        except Unavailable:
            return False
        seen.extend(map(key, found))
        return len(seen) >= number

    cluster.add(deployment("web"))
    process = start()
    until(lambda: read(1), seconds=60)
    process.kill()
    process.join()
    cluster.update(deployment("web", image="a:1"))
    process = start()
    until(lambda: read(2), seconds=60)
    process.terminate()
    process.join(20)
    assert process.exitcode in {0, -signal.SIGTERM}
    assert [type_ for type_, _, _ in seen] == ["ADDED", "MODIFIED"]
    assert "did not end in order" in (tmp_path / "stderr").read_text()
