"""Which items are new to a reader that resumes anywhere, in any number of crashes."""

from hypothesis import given
from hypothesis import strategies as st

from podpower.collector.checkpoint import earliest
from podpower.collector.known import Change, Known, covers
from podpower.kubernetes.kinds import KINDS
from podpower.sources.kubernetes.list_watch import Event, Found, Item, Listed, Stream

STREAM = Stream(kind=KINDS["Pod"])
History = list[tuple[str, str, int]]  # type, uid, version
STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=25)


def history(steps: list[tuple[int, int]]) -> History:
    """What a server does: an object of a name is made, changed, deleted and made anew with another uid."""
    made: dict[int, str] = {}
    found: History = []
    for version, (name, chance) in enumerate(steps, start=1):
        if name not in made:
            made[name] = f"{name}-{version}"
            found.append(("ADDED", made[name], version))
        elif chance:
            found.append(("MODIFIED", made[name], version))
        else:
            found.append(("DELETED", made.pop(name), version))
    return found


def obj(uid: str, version: int) -> dict:  # type: ignore[type-arg]
    return {"metadata": {"name": uid, "uid": uid, "resourceVersion": str(version)}}


def event(type_: str, uid: str, version: int) -> Item:
    return Event(stream=STREAM, type=type_, object=obj(uid, version), version=str(version))  # type: ignore[arg-type]


def alive_at(events: History, version: int) -> dict[str, int]:
    alive: dict[str, int] = {}
    for type_, uid, at in events:
        if at <= version:
            alive[uid] = at
            if type_ == "DELETED":
                del alive[uid]
    return alive


def a_list(events: History, version: int) -> list[Item]:
    alive = alive_at(events, version)
    found: list[Item] = [Found(stream=STREAM, object=obj(uid, at)) for uid, at in alive.items()]
    return [*found, Listed(stream=STREAM, version=str(version), uids=frozenset(alive))]


class Sink:
    """Keeps its lines through crashes, and of its memory only what a checkpoint and the lines give."""

    def __init__(self) -> None:
        self.lines: History = []
        self.checkpoint = 0

    def restarted(self) -> Known:
        known = Known(reached=str(self.checkpoint))
        for type_, uid, version in self.lines:
            if type_ == "DELETED":
                known.alive.pop(uid, None)
                known.gone[uid] = str(version)
            else:
                known.alive[uid] = str(version)
        return known

    def take(self, changes: list[Change]) -> None:
        self.lines += [(c.type, c.uid, int(c.resource_version)) for c in changes]


@given(STEPS, st.data())
def test_every_event_is_new_once_whatever_is_repeated_after_crashes(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    events, sink = history(steps), Sink()
    for _ in range(data.draw(st.integers(0, 6))):
        known = sink.restarted()
        written = data.draw(st.integers(sink.checkpoint, len(events)))  # then it is killed
        for one in events[sink.checkpoint : written]:
            sink.take(list(known.changes(event(*one))))
        sink.checkpoint = data.draw(st.integers(sink.checkpoint, written))
    known = sink.restarted()
    for one in events[sink.checkpoint :]:
        sink.take(list(known.changes(event(*one))))
    assert sink.lines == events


@given(STEPS, st.data())
def test_lists_between_crashes_end_in_the_state_of_the_server_and_invent_nothing(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    events, sink = history(steps), Sink()
    for _ in range(data.draw(st.integers(1, 6))):
        known = sink.restarted()
        seen = max([sink.checkpoint, *(version for _, _, version in sink.lines)])
        if data.draw(st.booleans()):  # the history was gone
            version = data.draw(st.integers(seen, len(events)))
            items = a_list(events, version)
            written = data.draw(st.integers(0, len(items)))
            for item in items[:written]:
                sink.take(list(known.changes(item)))
            if written == len(items) and data.draw(st.booleans()):
                sink.checkpoint = version
        else:
            version = data.draw(st.integers(sink.checkpoint, len(events)))
            for one in events[sink.checkpoint : version]:
                sink.take(list(known.changes(event(*one))))
            sink.checkpoint = data.draw(st.integers(sink.checkpoint, version))
    known = sink.restarted()
    for item in a_list(events, len(events)):
        sink.take(list(known.changes(item)))
    alive: dict[str, int] = {}
    dead: set[str] = set()
    for type_, uid, version in sink.lines:
        assert uid not in dead
        assert (type_ == "ADDED") == (uid not in alive)
        assert version > alive.get(uid, 0)
        alive[uid] = version
        if type_ == "DELETED":
            del alive[uid]
            dead.add(uid)
    assert alive == alive_at(events, len(events))


def test_a_watch_that_resumes_before_a_deleted_object_was_changed_does_not_bring_it_back() -> None:
    known = Known(gone={"a": "7"}, reached="4")
    assert list(known.changes(event("MODIFIED", "a", 6))) == []
    assert list(known.changes(event("DELETED", "a", 7))) == []


def test_an_object_that_enters_the_selector_again_is_added_again() -> None:
    known = Known(gone={"a": "7"}, reached="4")
    assert [c.type for c in known.changes(event("ADDED", "a", 9))] == ["ADDED"]


def test_a_list_of_a_restored_server_counts_although_its_versions_are_lower() -> None:
    known = Known(alive={"a": "90", "b": "95"}, reached="100")
    items = [Found(stream=STREAM, object=obj("a", 40)), Listed(stream=STREAM, version="50", uids=frozenset({"a"}))]
    assert [(c.type, c.uid) for item in items for c in known.changes(item)] == [("MODIFIED", "a"), ("DELETED", "b")]
    assert [c.type for c in known.changes(event("MODIFIED", "a", 51))] == ["MODIFIED"]


def test_versions_that_are_not_numbers_are_compared_for_equality() -> None:
    known = Known(alive={"a": "x1"}, gone={"b": "x2"})
    repeated = Event(stream=STREAM, type="MODIFIED", object=obj("a", 0), version="x1")
    repeated.object["metadata"]["resourceVersion"] = "x1"
    assert list(known.changes(repeated)) == []
    assert not covers("x2", "x9")


def test_several_sinks_resume_where_none_misses_anything() -> None:
    assert earliest([{"a": "9", "b": "3"}, {"a": "10", "b": "3", "c": "1"}]) == {"a": "9", "b": "3"}
    assert earliest([{"a": "x"}, {"a": "y"}]) == {}
