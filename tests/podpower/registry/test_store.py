import errno
import os
import threading
import uuid
from datetime import UTC, datetime

import pytest

from podpower.errors import InvalidInput, PodpowerError, Refused
from podpower.registry.store import ENCODER_FILE, MANIFEST_FILE, MODEL_FILE, ModelStore


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return ModelStore(tmp_path / "models" if request.param == "local" else f"memory://{uuid.uuid4().hex}/models")


@pytest.fixture(scope="session")
def pairs(make_pair):
    return [make_pair(watts) for watts in (1.0, 2.0, 3.0)]


def test_a_new_store_is_empty(store):
    assert store.versions() == []
    assert store.served() is None
    assert store.history() == []


def test_what_was_added_and_promoted_is_loaded(store, pair):
    version = store.add(*pair, metadata={"run": "r1"})
    assert store.served() is None
    store.promote(version)
    encoder, model = store.load(store.served())
    assert (encoder.fingerprint, model.trained_at) == (pair[0].fingerprint, pair[1].trained_at)
    (info,) = store.versions()
    assert info.metadata == {"run": "r1"}
    assert info.training_size == pair[1].training_size


def test_the_same_pair_is_the_same_version(store, pair):
    first = store.add(*pair, metadata={"run": "r1"})
    assert store.add(*pair, metadata={"run": "r2"}) == first
    assert store.info(first).metadata == {"run": "r1"}


def test_a_report_is_kept_beside_the_model_and_does_not_name_it(store, pairs):
    page = b"<!doctype html><p>good</p>"
    version = store.add(*pairs[0], report=page)
    assert store.report(version) == page
    assert store.add(*pairs[0]) == version
    assert store.report(version) == page
    without = store.add(*pairs[1])
    with pytest.raises(Refused, match="has no report"):
        store.report(without)
    store.promote(version)
    assert store.prune(keep=2) == []
    assert store.remove([without]) == [without]
    assert store.damaged(contents=True) == {}


def test_a_report_that_is_too_large_is_refused_and_nothing_is_stored(store, pair):
    with pytest.raises(Refused, match="17 MiB is larger than the 16 MiB"):
        store.add(*pair, report=bytes(17 << 20))
    assert store.versions() == []


def test_another_model_is_another_version(store, pairs):
    assert len({store.add(*pair) for pair in pairs}) == 3
    assert len(store.versions()) == 3


def test_a_model_of_another_encoder_is_refused(store, make_pair, pair):
    other_encoder, _ = make_pair(text="none")
    with pytest.raises(Refused, match="trained with encoder"):
        store.add(other_encoder, pair[1])
    assert store.versions() == []


def test_rollback_goes_back_one_by_one(store, pairs):
    a, b, c = (store.add(*pair) for pair in pairs)
    for version in (a, b, c):
        store.promote(version)
    assert store.rollback() == b
    assert store.rollback() == a == store.served()
    with pytest.raises(Refused, match="no earlier"):
        store.rollback()
    assert store.served() == a
    store.promote(c)
    assert store.rollback() == a
    assert [entry.action for entry in store.history()].count("rollback") == 3


@pytest.mark.parametrize("name", [ENCODER_FILE, MODEL_FILE, MANIFEST_FILE])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_version_is_refused_and_the_others_stay(store, pairs, name, damage):
    good, bad = store.add(*pairs[0]), store.add(*pairs[1])
    store.promote(good)
    path = store.root / "versions" / bad / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-20] if damage == "cut" else b"{}" + content[2:])
    with pytest.raises(Refused):
        store.promote(bad)
    assert store.served() == good
    store.load(good)
    assert store.add(*pairs[1]) == bad  # mends it
    store.promote(bad)
    assert store.rollback() == good


def test_rollback_passes_over_what_is_damaged(store, pairs):
    a, b, c = (store.add(*pair) for pair in pairs)
    for version in (a, b, c):
        store.promote(version)
    (store.root / "versions" / b / MODEL_FILE).write_bytes(b"")
    assert store.rollback() == a


def test_a_swapped_file_is_refused(store, pairs):
    a, b = (store.add(*pair) for pair in pairs[:2])
    (store.root / "versions" / a / MODEL_FILE).write_bytes((store.root / "versions" / b / MODEL_FILE).read_bytes())
    with pytest.raises(Refused, match="digest"):
        store.load(a)


@pytest.mark.parametrize(
    "version", ["../secret", "", "latest", "20260101T000000Z-0a1b2c3d4e5f/..", "20260101T000000Z-000000000000"]
)
def test_a_version_that_is_none_is_refused(store, version):
    with pytest.raises(Refused):
        store.load(version)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": "../../etc", "promoted_at": ""}'])
def test_a_damaged_pointer_is_refused_and_promoting_mends_it(store, pair, content):
    version = store.add(*pair)
    store.promote(version)
    (store.root / "latest.json").write_bytes(content)
    with pytest.raises(Refused):
        store.served()
    store.promote(version)
    assert store.served() == version


def test_what_is_half_written_is_not_listed(store, pair):
    version = store.add(*pair)
    half = store.root / "versions" / "20990101T000000Z-0a1b2c3d4e5f"
    half.mkdir(parents=True, exist_ok=True)
    (half / ENCODER_FILE).write_bytes(b"half")
    assert [info.version for info in store.versions()] == [version]


def test_a_full_disk_leaves_nothing(tmp_path, pair, monkeypatch):
    store = ModelStore(tmp_path / "models")
    synced = os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PodpowerError, match="no room"):
        store.add(*pair)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    store.promote(store.add(*pair))


def test_writers_at_once_leave_whole_versions(store, pairs):
    failures = []

    def write(pair):
        try:
            store.promote(store.add(*pair))
        except PodpowerError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(pair,)) for pair in [*pairs, *pairs]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.versions()) == 3
    for info in store.versions():
        store.load(info.version)
    store.load(store.served())
    assert len(store.history()) == 6


def test_of_two_promotions_at_once_one_is_refused(tmp_path, pairs):
    """Both candidates were compared with `a`; only the first takes its place."""
    store = ModelStore(tmp_path / "models")
    a, b, c = (store.add(*pair) for pair in pairs)
    for _ in range(5):
        store.promote(a)
        refused, together = [], threading.Barrier(2)

        def promote(version, refused=refused, together=together):
            together.wait()
            try:
                store.promote(version, instead_of=a)
            except Refused as error:
                refused.append((version, str(error)))

        threads = [threading.Thread(target=promote, args=(version,)) for version in (b, c)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [(loser, reason)] = refused
        assert store.served() == {b: c, c: b}[loser]
        assert "compare it again" in reason


def test_pruning_keeps_the_newest_and_all_that_may_be_served_again(store, pairs):
    a, b, c = (store.add(*pair) for pair in pairs)
    store.promote(b)
    oldest_first = [info.version for info in reversed(store.versions())]
    removed = store.prune(keep=1)
    newest = oldest_first[-1]
    assert set(removed) == {a, b, c} - {b, newest}
    assert {info.version for info in store.versions()} == {b, newest}
    assert not (store.root / "versions" / removed[0]).exists()
    store.load(b)
    with pytest.raises(Refused, match="no version"):
        store.promote(removed[0])
    assert store.prune(keep=1) == []
    store.promote(store.add(*pairs[[a, b, c].index(removed[0])]))
    assert store.rollback() == b
    with pytest.raises(InvalidInput, match="at least 1"):
        store.prune(keep=0)


def test_a_version_with_a_damaged_manifest_is_pruned_with_those_of_its_age(store, pairs):
    for pair in pairs:
        store.add(*pair)
    (store.root / "versions" / "notes").mkdir()
    newest, middle, oldest = (info.version for info in store.versions())
    manifests = {version: store.root / "versions" / version / MANIFEST_FILE for version in (newest, oldest)}
    whole = manifests[newest].read_bytes()
    for path in manifests.values():
        path.write_bytes(b"{")
    assert store.prune(keep=1) == []
    manifests[newest].write_bytes(whole)
    assert store.prune(keep=1) == [middle, oldest]
    assert {path.name for path in (store.root / "versions").iterdir()} == {newest, "notes"}


def test_damaged_versions_are_reported(store, pairs):
    a, b, c = (store.add(*pair) for pair in pairs)
    store.promote(a)
    assert store.damaged() == {}
    (store.root / "versions" / a / MANIFEST_FILE).unlink()
    (store.root / "versions" / b / MANIFEST_FILE).write_bytes(b"{")
    assert set(store.damaged()) == {a, b}
    assert [info.version for info in store.versions()] == [c]
    (store.root / "latest.json").write_bytes(b"")
    assert "promote a version again" in store.damaged()["latest.json"]


def test_metadata_must_be_plain(store, pair):
    with pytest.raises(InvalidInput, match="metadata"):
        store.add(*pair, metadata={"what": object()})
    assert store.versions() == []


def test_what_is_pinned_is_replaced_by_a_person_only(store, pairs):
    first, second, _ = (store.add(*pair) for pair in pairs)
    store.promote(first, pin=True)
    assert store.pinned()
    with pytest.raises(Refused, match="is pinned"):
        store.promote(second, instead_of=first)
    assert store.served() == first
    store.promote(second)
    assert not store.pinned()
    assert store.rollback() == first
    assert store.pinned()
    assert store.unpin() == first
    store.promote(second, instead_of=first)
    assert store.served() == second


def test_what_cannot_be_served_is_not_pinned(store, pairs):
    first, second, _ = (store.add(*pair) for pair in pairs)
    store.promote(first, pin=True)
    (store.root / "versions" / first / MODEL_FILE).write_bytes(b"gone")
    assert not store.pinned()
    store.promote(second, instead_of=first)
    assert store.served() == second


def test_the_store_records_what_was_served_when(tmp_path, pairs):
    moments = iter([datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (6, 12, 18)])
    store = ModelStore(tmp_path / "models", clock=lambda: next(moments))
    first, second = store.add(*pairs[0]), store.add(*pairs[1])
    assert store.serving(0.0, 1e10) == []
    store.promote(first)
    store.promote(second)
    assert store.rollback() == first
    midnight_s = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    hours = [
        (serving.version, (serving.start_s - midnight_s) / 3600, (serving.end_s - midnight_s) / 3600)
        for serving in store.serving(midnight_s - 24 * 3600, midnight_s)
    ]
    assert hours == [(first, -18.0, -12.0), (second, -12.0, -6.0), (first, -6.0, 0.0)]
    [next_day] = store.serving(midnight_s, midnight_s + 24 * 3600)
    assert (next_day.version, next_day.start_s) == (first, midnight_s)
    assert store.serving(0.0, midnight_s - 24 * 3600) == []
