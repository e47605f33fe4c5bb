"""Lists and watches of a cluster: nothing is lost, and nothing told twice, whatever happens on the way."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podpower.collector.known import Known
from podpower.errors import InvalidInput
from podpower.io.retries import Backoff
from podpower.kubernetes.kinds import KINDS
from podpower.sources.kubernetes.access import ClusterConfig, open_access
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.list_watch import Interrupted, Item, Reached, Selection, follow, open_streams
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, write_kubeconfig

Told = list[tuple[str, str, str]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Backoff, "next_s", lambda _self, at_least_s=0.0: min(at_least_s, 0.01))
    with stamina.set_testing(True, attempts=10, cap=True):  # no waits
        yield


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as fake:
        yield fake


class Follower:
    """Follows Deployments until `until` holds, in a loop of its own; what was told stays."""

    def __init__(self, folder: Path, cluster: FakeCluster, selection: Selection | None = None) -> None:
        self._cluster = cluster
        self._access = open_access(ClusterConfig(kubeconfig=str(write_kubeconfig(folder / "config", cluster.url))))
        self._selection = replace(selection or Selection(), kinds=(KINDS["Deployment"],))
        self._names: dict[str, str] = {}  # by uid
        self._known = Known()
        self.version: str | None = None
        self.told: Told = []
        self.interruptions: list[str] = []
        self._marked: str | None = None  # the version of the last bookmark

    def run(self, *steps: Callable[[], object]) -> Told:
        """Wait until it watches and all is told, take each step and wait again; returns what was told since."""
        before = len(self.told)
        asyncio.run(self._run(steps))
        return self.told[before:]

    async def _run(self, steps: tuple[Callable[[], object], ...]) -> None:
        async with Api(self._access) as api:
            following = asyncio.create_task(self._follow(api))
            await self._until_quiet(following)
            for step in steps:
                step()
                await self._until_quiet(following)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _follow(self, api: Api) -> None:
        [stream] = await open_streams(api, self._selection)
        async for item in follow(api, stream, self.version):
            self._take(item)

    async def _until_quiet(self, following: "asyncio.Task[None]") -> None:
        """Wait for a bookmark of what the cluster did last: whatever is told of it comes before."""
        self._marked, deadline = None, time.monotonic() + 120
        while self._marked != str(self._cluster.version) or not self._cluster.watches("Deployment"):
            self._cluster.bookmark()
            await asyncio.sleep(0.02)
            if following.done():
                following.result()
            assert time.monotonic() < deadline, "it does not watch"

    def _take(self, item: Item) -> None:
        if isinstance(item, Reached):
            self._marked = item.version
        if isinstance(item, Interrupted):
            self.interruptions.append(item.reason)
            return
        self.version = item.version or self.version
        for change in self._known.changes(item):
            name = self._names.setdefault(change.uid, change.object["metadata"].get("name", ""))
            self.told.append((change.type, name, change.resource_version))


@pytest.fixture
def follower(cluster: FakeCluster, tmp_path: Path) -> Follower:
    return Follower(tmp_path, cluster)


def told(found: Told) -> list[tuple[str, str]]:
    return [(event, name) for event, name, _ in found]


def test_what_is_there_is_listed_in_pages_and_what_changes_is_watched(cluster: FakeCluster, follower: Follower) -> None:
    cluster.page_limit = 3
    cluster.put_many(deployment(f"web-{n}") for n in range(10))
    found = follower.run(
        lambda: cluster.add(deployment("new")),
        lambda: cluster.update(deployment("web-1", image="nginx:2")),
        lambda: cluster.delete("Deployment", "shop", "web-2"),
    )
    assert sorted(told(found)[:10]) == sorted(("ADDED", f"web-{n}") for n in range(10))
    assert told(found)[10:] == [("ADDED", "new"), ("MODIFIED", "web-1"), ("DELETED", "web-2")]
    lists = [r for r in cluster.requests if "watch" not in r.params]
    assert [r.params["limit"] for r in lists] == ["500"] * 4
    watch = next(r for r in cluster.requests if "watch" in r.params)
    assert watch.params["allowWatchBookmarks"] == "true"


def test_a_stream_that_is_cut_resumes(cluster: FakeCluster, follower: Follower) -> None:
    cluster.put_many([deployment("web")])
    found = follower.run(
        lambda: cluster.update(deployment("web", image="a:1")),
        lambda: (cluster.cut(), cluster.update(deployment("web", image="a:2"))),
        lambda: (cluster.cut(mid_line=True), cluster.update(deployment("web", image="a:3"))),
    )
    assert told(found) == [("ADDED", "web"), *[("MODIFIED", "web")] * 3]
    assert len({version for _, _, version in found}) == 4
    assert sum("watch" not in r.params for r in cluster.requests) == 1
    assert follower.interruptions == ["broken", "broken"]


@pytest.mark.parametrize("how", ["status", "event"])
def test_after_an_expired_history_objects_are_listed_and_only_differences_are_emitted(
    cluster: FakeCluster, follower: Follower, how: str
) -> None:
    cluster.put_many([deployment("same"), deployment("changed"), deployment("deleted")])

    def meanwhile() -> None:
        cluster.cut()
        cluster.update(deployment("changed", image="nginx:2"))
        cluster.delete("Deployment", "shop", "deleted")
        cluster.add(deployment("added"))
        cluster.forget(how=how)

    follower.run()
    meanwhile()
    found = follower.run()
    assert sorted(told(found)) == [("ADDED", "added"), ("DELETED", "deleted"), ("MODIFIED", "changed")]
    assert follower.interruptions == ["gone"]


def test_a_list_that_is_history_before_its_end_is_begun_again(cluster: FakeCluster, follower: Follower) -> None:
    cluster.page_limit = 2
    cluster.put_many(deployment(f"web-{n}") for n in range(5))
    cluster.fail_next(410, path="/deployments")
    assert sorted(told(follower.run())) == [("ADDED", f"web-{n}") for n in range(5)]


def test_bookmarks_move_on_where_nothing_else_does(cluster: FakeCluster, follower: Follower) -> None:
    follower.run()
    before = follower.version
    follower.run(
        lambda: (cluster.add({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}), cluster.bookmark())
    )
    assert int(str(follower.version)) > int(str(before))


def test_a_server_that_was_restored_to_an_older_state_is_listed_again(cluster: FakeCluster, follower: Follower) -> None:
    cluster.put_many([deployment("kept"), deployment("changed")])
    backup = cluster.backup()
    follower.run(
        lambda: cluster.update(deployment("changed", image="a:1")),
        lambda: cluster.add(deployment("lost")),
    )
    cluster.restore(backup)
    found = follower.run(cluster.bookmark, lambda: cluster.update(deployment("kept", image="a:2")))
    assert sorted(told(found)) == [("DELETED", "lost"), ("MODIFIED", "changed"), ("MODIFIED", "kept")]
    assert follower.interruptions[-1] == "gone"


def test_a_busy_server_is_retried_after_retry_after(cluster: FakeCluster, follower: Follower) -> None:
    cluster.put_many([deployment("web")])
    cluster.fail_next(429, count=2, headers={"Retry-After": 1}, path="/deployments")
    assert told(follower.run(lambda: None, lambda: None)) == [("ADDED", "web")]


def test_what_is_forbidden_ends_it(cluster: FakeCluster, follower: Follower) -> None:
    cluster.forbid("deployments", "watch")
    with pytest.raises(InvalidInput, match="forbids this"):
        follower.run()


def test_namespaces_and_labels_select(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.put_many(
        deployment(name, namespace=ns) for name, ns in (("a", "shop"), ("b", "kube-system"), ("c", "test"))
    )
    left_out = Follower(tmp_path, cluster, Selection(exclude=("kube-system",)))
    assert sorted(told(left_out.run())) == [("ADDED", "a"), ("ADDED", "c")]
    labelled = Follower(tmp_path, cluster, Selection(labels="app in (a,b)", exclude=("shop",)))
    assert told(labelled.run()) == [("ADDED", "b")]
    named = Follower(tmp_path, cluster, Selection(namespaces=("test",)))
    assert told(named.run()) == [("ADDED", "c")]
    assert cluster.requests[-1].path == "/apis/apps/v1/namespaces/test/deployments"


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "update", "delete", "cut", "half", "forget", "bookmark", "busy", "pause"]),
              st.integers(0, 3)), max_size=8,
)  # fmt: skip


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_the_end_is_known_and_no_version_is_emitted_twice(
    tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    with FakeCluster() as cluster:
        alive: dict[str, str] = {}

        def step(what: str, number: int) -> None:
            name = f"web-{number}"
            if what in {"add", "update"}:
                obj = deployment(name, image=f"nginx:{len(cluster.requests)}")
                stored = cluster.update(obj) if name in alive else cluster.add(obj)
                alive[name] = stored["metadata"]["resourceVersion"]
            elif what == "delete" and name in alive:
                cluster.delete("Deployment", "shop", name)
                del alive[name]
            elif what in {"cut", "half"}:
                cluster.cut(mid_line=what == "half")
            elif what == "forget":
                cluster.forget(how="event" if number % 2 else "status")
            elif what == "bookmark":
                cluster.bookmark()
            elif what == "busy":
                cluster.fail_next(503, path="/deployments")

        follower = Follower(tmp_path, cluster)
        batches: list[list[tuple[str, int]]] = [[]]
        for one in steps:
            batches.append([]) if one[0] == "pause" else batches[-1].append(one)
        follower.run(*[lambda batch=batch: [step(*s) for s in batch] for batch in batches])  # type: ignore[misc]
    seen: dict[str, str] = {}
    for event, name, version in follower.told:
        if event == "DELETED":
            del seen[name]
        else:
            assert (event == "ADDED") == (name not in seen)
            seen[name] = version
    assert seen == alive
    versions = [(event, name, version) for event, name, version in follower.told]
    assert len(versions) == len(set(versions))
