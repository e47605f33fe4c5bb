"""Memory stays flat while models are replaced: a served model leaves nothing behind but caches of bounded size."""

import gc
import tracemalloc
import weakref

import pytest

from podpower.features import ngrams
from podpower.features.names import stable_name
from podpower.kubernetes.images import image_key
from podpower.registry.newest import StoreSource
from podpower.registry.store import ModelStore
from podpower.specs.requests import Container, InferenceRequest
from podpower_serving.app import spare_loaded
from podpower_serving.models import Served

RELOADS, WARM, REQUESTS = 30, 10, 64
MOST_GROWTH_BYTES = 256 << 10  # in 20 reloads; one model has twice as many


class _Cycle:
    """Garbage that reference counts do not free."""

    def __init__(self):
        self.own = self


@pytest.fixture
def promoted(tmp_path, make_pair):
    """A store, and its two versions."""
    store = ModelStore(tmp_path / "models")
    return store, [store.add(*make_pair(watts)) for watts in (1.0, 2.0)]


@pytest.fixture
def as_a_process():
    """Collections as in a process of the service, and as before afterwards."""
    thresholds = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def requests():
    containers = [Container(name="a", image="acme/app:1", args=["--a"])]
    return [
        InferenceRequest(workload_kind="Job", workload_name=f"w{i}", containers=containers) for i in range(REQUESTS)
    ]


@pytest.mark.usefixtures("as_a_process")
def test_thirty_reloads_leave_nothing_behind(promoted):
    store, versions = promoted
    served = Served(StoreSource(store), after_load=spare_loaded)
    former, cycles, sizes = [], [], []
    tracemalloc.start()
    try:
        for number in range(RELOADS):
            garbage = _Cycle()
            cycles.append(weakref.ref(garbage))
            store.promote(versions[number % 2])
            del garbage  # as of requests that were answered meanwhile
            served.refresh()
            former.append(weakref.ref(served.predictor))
            served.predictor.predict(requests())
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert [place for place, predictor in enumerate(former) if predictor() is not None] == [RELOADS - 1]
    assert not [place for place, cycle in enumerate(cycles) if cycle() is not None]
    assert sizes[-1] - sizes[WARM] < MOST_GROWTH_BYTES, sizes


def test_long_texts_are_not_kept_in_caches():
    long = "x" * 60_000

    def sizes():
        return [known.cache_info().currsize for known in caches]

    caches = [ngrams._known_words, stable_name.__globals__["_stable"], image_key.__globals__["_key"]]
    before = sizes()
    ngrams.distinct_words(long)
    stable_name("Pod", long)
    image_key(long)
    assert sizes() == before
