"""A purge removes a namespace from a journal that a real collector wrote, which stays whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from podpower.collector.single_writer import Locked
from podpower.errors import InvalidInput
from podpower.hours import HOUR_S, hour_name
from podpower.retention.journals import purge_journal
from podpower.retention.scope import Scope
from podpower.sources.journal.files import JournalFiles
from podpower.sources.journal.format import (
    Header,
    JournalMeta,
    decode_part,
    encode_part,
    event_line,
    events_name,
    flush_name,
    sealed,
    snapshot_name,
)
from podpower.sources.journal.reader import JournalReader
from podpower.sources.recording import Meta
from podpower.sources.writing import RecordingWriter
from tests.clusters.collecting import Collector
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment
from tests.waiting import until

SCOPE = Scope(namespace="ml")
START_S = 1767225600.0


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


def purge(url: object, scope: Scope = SCOPE, *, dry_run: bool = False) -> int:
    problems: list[str] = []
    count = sum(one.count for one in purge_journal(str(url), scope, name="", dry_run=dry_run, problems=problems))
    assert problems == []
    return count


def names(url: object) -> list[str]:
    reader = JournalReader(str(url))
    found, _ = reader.changes(None)
    assert reader.damaged == []
    return sorted(event.object["metadata"]["name"] for event in found)


def test_the_journal_of_a_collector_is_purged_once_it_has_ended(cluster: FakeCluster, tmp_path: Path) -> None:
    collector = Collector(cluster, tmp_path / "journal", tmp_path)
    cluster.add(deployment("web"))
    cluster.add(deployment("train", namespace="ml"))
    with collector.running() as journal:
        collector.catch_up(journal)
        until((tmp_path / "journal" / "journal.json").exists)
        with pytest.raises(Locked):
            purge(collector.url)
    assert names(collector.url) == ["train", "web"]
    assert purge(collector.url, Scope(namespace="ml", cluster="elsewhere")) == 0
    assert purge(collector.url, dry_run=True) == purge(collector.url) > 0
    assert names(collector.url) == ["web"]
    assert purge(collector.url) == 0
    cluster.delete("Deployment", "ml", "train")
    collector.collect()  # continues
    assert "web" in names(collector.url)


def line(name: str, namespace: str, ts: float = START_S) -> bytes:
    obj = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace, "uid": name}}
    return event_line(ts, "ADDED", obj)


def hours_of(url: object) -> JournalFiles:
    """A journal of a compacted hour of two flushes and a snapshot."""
    files = JournalFiles(str(url))
    files.create("journal.json", sealed(JournalMeta(journal_id="j", cluster="c", start_s=START_S)))
    hour, following = hour_name(START_S), hour_name(START_S + HOUR_S)
    files.create(
        snapshot_name(hour), encode_part(Header(kind="snapshot", hour=hour, sequence=0, reached_s=START_S), [])
    )
    header = Header(kind="events", hour=hour, sequence=2, reached_s=START_S + 60, parts=[(1, 2), (2, 2)])
    lines = [line("a", "ml"), line("b", "shop"), line("c", "shop"), line("d", "ml")]
    files.create(events_name(hour), encode_part(header, lines))
    versions = {"v1/pods@ml": "7", "v1/pods@shop": "8"}
    header = Header(kind="snapshot", hour=following, sequence=2, reached_s=START_S + 60, versions=versions)
    files.create(snapshot_name(following), encode_part(header, lines))
    header = Header(kind="flush", hour=following, sequence=3, reached_s=START_S + HOUR_S, closed=True)
    files.create(flush_name(3), encode_part(header, [line("e", "ml", START_S + HOUR_S)]))
    return files


def test_hours_on_an_object_store_are_purged_and_cursors_stay_right(s3_url: str) -> None:
    files = hours_of(f"{s3_url}/journal")
    reader = JournalReader(f"{s3_url}/journal")
    assert [event.object["metadata"]["name"] for event in reader.changes(None)[0]] == list("abcde")
    assert purge(f"{s3_url}/journal") == 6  # four pods, the one of the flush, and a stream
    assert names(f"{s3_url}/journal") == ["b", "c"]
    part = decode_part("x", files.read(events_name(hour_name(START_S))) or b"", damaged=[])
    assert part.header is not None
    assert part.header.parts == [(1, 1), (2, 1)]
    assert part.header.sequence == 2


def test_a_recorded_cluster_is_named_and_not_changed(tmp_path: Path) -> None:
    meta = Meta(recording_id="r", cluster="c", kepler="0.10", scrape_interval_s=30.0, start_s=0.0, end_s=1.0)
    RecordingWriter(tmp_path).meta(meta)
    with pytest.raises(InvalidInput, match=r"is not changed: .* record again with --exclude-namespaces"):
        purge(tmp_path)
    assert purge(tmp_path / "nothing") == 0
    assert not (tmp_path / "nothing").exists()
