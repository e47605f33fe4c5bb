"""Processes that share nothing but the URL of a store on an S3 server change it at once; no change is lost."""

import subprocess
import sys

import pytest

from podpower.errors import Refused
from podpower.registry.quarantine import Quarantined
from podpower.registry.store import ModelStore

CHANGES = 4
WRITER = """
import sys
from podpower.errors import Refused
from podpower.registry.store import ModelStore
store, (own, version, changes) = ModelStore(sys.argv[1]), sys.argv[2:]

def meet():
    print("ready", flush=True)
    input()
"""
PROMOTE = """
meet()
for _ in range(int(changes)):
    store.promote(version)
"""
RELEASE = """
meet()
for number in range(int(changes)):
    store.quarantine.release(f"{own}{number}")
"""
COMPARED = """
served = store.served()
meet()
try:
    store.promote(version, instead_of=served)
    print("promoted")
except Refused as error:
    assert "compare it again" in str(error), error
    print("refused")
"""


@pytest.fixture(scope="module")
def pairs(make_pair):
    return [make_pair(watts) for watts in (1.0, 2.0, 3.0)]


@pytest.fixture
def store(s3_url, pairs):
    """A store that serves one of three versions."""
    store = ModelStore(f"{s3_url}/models")
    store.promote(next(iter([store.add(*pair) for pair in pairs])))
    return store


def both(store, script):
    """Run the script in two processes that change the store at the same moment; return what each printed."""
    versions = {info.version for info in store.versions()} - {store.served()}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER + script, str(store.root), own, version, str(CHANGES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for own, version in zip("ab", versions, strict=True)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n", writer.stderr.read()
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    outputs = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], [error for _, error in outputs]
    return [output.strip() for output, _ in outputs]


def test_no_promotion_is_lost(store):
    first = store.served()
    both(store, PROMOTE)
    history = [change.version for change in store.history()]
    candidates = {info.version for info in store.versions()} - {first}
    assert {version: history.count(version) for version in candidates} == dict.fromkeys(candidates, CHANGES)
    assert store.served() == history[-1]
    assert store.damaged() == {}


def test_of_two_candidates_compared_with_one_version_only_one_is_promoted(store):
    assert sorted(both(store, COMPARED)) == ["promoted", "refused"]
    assert len(store.history()) == 2


def test_no_release_is_lost(store):
    values = {"cluster": "c", "namespace": "shop", "workload_kind": "Deployment", "spec_hash": "a" * 64, "hours": 1}
    times = {"since_s": 0.0, "last_s": 1.0, "low_w": 1.0, "high_w": 2.0, "least_w": 30.0, "most_w": 40.0}
    names = [f"{own}{number}" for own in "ab" for number in range(CHANGES)]
    store.quarantine.record(
        [Quarantined(**values, **times, workload_name=name) for name in [*names, "stays"]], accepted=[], through_s=1.0
    )
    both(store, RELEASE)
    state = store.quarantine.read()
    assert [spec.workload_name for spec in state.specs] == ["stays"]
    assert sorted(released.workload_name for released in state.released) == sorted(names)


def test_a_version_that_is_promoted_while_it_is_pruned_is_kept_or_not_served(tmp_path, pairs):
    """`prune` removes the manifest and then looks for promotions; `promote` does it the other way round."""
    pruner, promoter = ModelStore(tmp_path / "models"), ModelStore(tmp_path / "models")
    served, version, other = (pruner.add(*pair) for pair in pairs)
    pruner.promote(served)

    looks = pruner.last_served
    pruner.last_served = lambda: promoted_just_before(promoter, version) or looks()
    assert pruner.remove([version, other]) == [other]
    assert pruner.served() == version
    pruner.load(version)
    pruner.last_served = looks

    promoter.promote(served)
    append = promoter._promotions.append

    def pruned_just_before(*arguments, **named):
        promoter._promotions.append = append
        assert pruner.remove([version]) == [version]
        return append(*arguments, **named)

    promoter._promotions.append = pruned_just_before
    with pytest.raises(Refused, match="removed meanwhile"):
        promoter.promote(version)
    assert pruner.served() == served


def promoted_just_before(store, version):
    store._promotions.append(store._promotions.head(), version, action="promote")
