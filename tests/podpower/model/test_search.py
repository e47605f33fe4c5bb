import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.model.knn import KnnModel
from podpower.model.lookup import Lookup, Strings
from podpower.model.search import Search, exact_near
from podpower.training import learn as learning
from podpower.training.ivf import RECALL_AT_10, make_inverted_file
from podpower.training.train import train

ONES = np.ones(16, dtype=np.float32)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(20, 16))
    return (centers[rng.integers(0, 20, size=4000)] + rng.normal(size=(4000, 16)) * 0.2).astype(np.float32)


def test_an_inverted_file_finds_nearly_all_that_an_exact_search_finds(vectors):
    pytest.importorskip("faiss")
    inverted_file = make_inverted_file(vectors, ONES)
    assert inverted_file.recall_at_10 >= RECALL_AT_10
    queries = vectors[:200] + np.float32(0.05)
    exact, _ = Search(vectors, ONES).near(queries, 10)
    near, squared = Search(vectors, ONES, inverted_file).near(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.tolist(), near.tolist(), strict=True)])
    assert recall >= 0.98
    assert (np.diff(squared, axis=1) >= 0).all()
    brute = ((queries[:, None] - vectors[near]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared, brute, rtol=1e-3, atol=1e-4)


def test_an_inverted_file_leaves_out_the_groups_that_an_exact_search_leaves_out(vectors):
    pytest.importorskip("faiss")
    groups, asked = np.arange(4000) // 3, np.arange(0, 4000, 20)
    inverted_file = make_inverted_file(vectors, ONES)
    exact, _ = Search(vectors, ONES).near(vectors[asked], 10, groups=groups, own_groups=groups[asked])
    near, squared = Search(vectors, ONES, inverted_file).near(
        vectors[asked], 10, groups=groups, own_groups=groups[asked]
    )
    assert (groups[near] != groups[asked][:, None]).all()
    assert np.isfinite(squared).all()
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.tolist(), near.tolist(), strict=True)])
    assert recall >= 0.98


@pytest.mark.parametrize(
    "change", [{"list_of": np.full(4000, 9999)}, {"list_of": np.zeros(3, dtype=int)}, {"nprobe": 0}]
)
def test_an_inverted_file_of_other_vectors_are_refused(vectors, change):
    pytest.importorskip("faiss")
    inverted_file = dataclasses.replace(make_inverted_file(vectors, ONES), **change)
    with pytest.raises(ValueError, match="inverted file"):
        Search(vectors, ONES, inverted_file)


def test_a_large_model_predicts_as_a_small_one_does(rows, monkeypatch, queries, known_vectors):
    pytest.importorskip("faiss")
    exact = train_with(rows, monkeypatch, limit=10_000)
    large = train_with(rows, monkeypatch, limit=10)
    assert exact.inverted_file is None
    assert large.inverted_file is not None
    assert large.metrics["search_recall_at_10"] >= RECALL_AT_10
    asked = queries(known_vectors(exact) + 0.01)
    loaded = KnnModel.from_state(large.state())
    np.testing.assert_allclose(loaded.predict(asked).power_w, exact.predict(asked).power_w, rtol=0.02)


def train_with(rows, monkeypatch, *, limit):
    monkeypatch.setattr(learning, "EXACT_ENTRIES", limit)
    return train(rows)


@given(st.lists(st.text(max_size=12), max_size=20))
def test_packed_texts_come_back(texts):
    packed = Strings.from_state(Strings.of(texts).state())
    assert list(packed) == texts
    assert len(packed) == len(texts)
    lookup = Lookup(packed)
    for text in {*texts, "never in there"}:
        assert lookup.find(text) == [i for i, t in enumerate(texts) if t == text]


@pytest.mark.parametrize(("size", "ends"), [(3, [1, 2]), (3, [2, 1, 3]), (0, [1]), (2, [-1, 2])])
def test_texts_that_do_not_fit_their_bytes_are_refused(size, ends):
    with pytest.raises(ValueError, match="texts"):
        Strings(np.zeros(size, dtype=np.uint8), np.array(ends))


@pytest.mark.parametrize("count", [40, 500])
def test_a_search_finds_the_same_in_any_batch_and_what_comparing_all_finds(vectors, count):
    search, queries = Search(vectors[:count], ONES), vectors[:70] + np.float32(0.05)
    near, squared = search.near(queries, 9)
    alone = [search.near(query[None], 9) for query in queries]
    assert near.tobytes() == np.concatenate([one for one, _ in alone]).tobytes()
    assert squared.tobytes() == np.concatenate([one for _, one in alone]).tobytes()
    brute = ((queries[:, None] - vectors[None, :count]) ** 2).sum(axis=2, dtype=np.float64)
    np.testing.assert_allclose(squared, np.sort(brute, axis=1)[:, :9], rtol=1e-5)


@pytest.mark.parametrize("approximate", [False, True], ids=["exact", "inverted file"])
def test_many_queries_in_threads_find_what_each_finds_alone(vectors, monkeypatch, approximate):
    pytest.importorskip("faiss")
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    search = Search(vectors, ONES, make_inverted_file(vectors, ONES) if approximate else None)
    queries, groups = vectors[:600] + np.float32(0.05), np.arange(4000) // 3
    near, squared = search.near(queries, 9, groups=groups, own_groups=groups[:600])
    alone = [search.near(queries[n][None], 9, groups=groups, own_groups=groups[n : n + 1]) for n in range(600)]
    assert near.tobytes() == np.concatenate([one for one, _ in alone]).tobytes()
    assert squared.tobytes() == np.concatenate([one for _, one in alone]).tobytes()


@pytest.mark.parametrize("of_groups", [1, 3, 900], ids=["alone", "few", "more than a block"])
@pytest.mark.parametrize("block", [70, 100, 8192])
def test_a_search_by_blocks_finds_what_the_search_of_all_finds(vectors, monkeypatch, block, of_groups):
    monkeypatch.setattr("podpower.model.search._BLOCK", block)
    vectors, scales = np.repeat(vectors[:1000], 2, axis=0), np.linspace(0.2, 2.0, vectors.shape[1], dtype=np.float32)
    queries, groups = np.arange(0, 2000, 7), np.arange(2000) // of_groups
    given = {"groups": groups, "own_groups": groups[queries]}
    for count, left_out in ((11, {}), (11, given), (90, given), (1990, given)):
        near, squared = exact_near(vectors, scales, vectors[queries], count, **left_out)
        of_all, distances = Search(vectors, scales).near(vectors[queries], count, **left_out)
        assert near.tobytes() == of_all.tobytes()
        assert squared.tobytes() == distances.tobytes()


def test_a_search_by_blocks_takes_less_memory_than_the_vectors():
    vectors = np.random.default_rng(1).standard_normal((60_000, 128)).astype(np.float32)
    tracemalloc.start()
    try:
        exact_near(vectors, np.ones(128, dtype=np.float32), vectors[:100], 11)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < vectors.nbytes


def test_entries_of_the_own_group_are_left_out_and_too_few_are_padded(vectors):
    search, groups = Search(vectors[:100], ONES), np.arange(100) // 95
    near, squared = search.near(vectors[:3], 8, groups=groups, own_groups=np.array([0, 1, 7]))
    assert (near[0, :5] >= 95).all()
    assert np.isinf(squared[0, 5:]).all()
    assert near[1, 0] == 1
    assert squared[2, 0] == 0.0


@pytest.mark.parametrize("count", [40, 300])
def test_an_equal_vector_is_at_distance_zero_and_of_equal_ones_the_first_is_nearest(count):
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.standard_normal((count // 2, 16)).astype(np.float32), 2, axis=0)
    near, squared = Search(vectors, np.full(16, 0.37, dtype=np.float32)).near(vectors[::2], 2)
    assert near.tolist() == [[row, row + 1] for row in range(0, count, 2)]
    assert not squared.any()
