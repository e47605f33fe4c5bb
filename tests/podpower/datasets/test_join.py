"""Each label meets the one spec that was in force at its step."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpower.datasets.hash_versions import HASH_VERSION
from podpower.datasets.join import FROM_SPEC, NO_SPEC, NOT_YET_OBSERVED, Joiner, join_rows
from podpower.errors import InvalidInput
from podpower.features.table import FEATURES_SCHEMA

LABELS = {
    "cluster": pl.String, "ts": pl.Float64, "namespace": pl.String, "workload_kind": pl.String,
    "workload_name": pl.String, "pod": pl.String, "avg_power_w": pl.Float64, "energy_step_j": pl.Float64,
    "step_seconds": pl.Float64, "energy": pl.String, "_spec_hash": pl.String, "reason": pl.String,
    "known_s": pl.Float64, "end_s": pl.Float64, "duration_s": pl.Float64, "known_share": pl.Float64,
    "total_energy_j": pl.Float64,
}  # fmt: skip


def spec(name: str, digest: str, since: float | None = None, kind: str = "Deployment", **rest: Any) -> dict[str, Any]:
    return {
        "namespace": "n", "workload_kind": kind, "workload_name": name, "_spec_hash": digest, "observed_from_s": since,
        "encoder_fingerprint": "e", "image_key": "i", "vec_len": 1, "features": [float(len(digest))], **rest,
    }  # fmt: skip


def label(
    name: str, ts: float = 100.0, digest: str | None = None, kind: str = "Deployment", **rest: Any
) -> dict[str, Any]:
    return {
        "ts": ts, "namespace": "n", "workload_kind": kind, "workload_name": name, "pod": f"{name}-x",
        "_spec_hash": digest, "energy_step_j": 60.0, "avg_power_w": 1.0, "step_seconds": 60.0, **rest,
    }  # fmt: skip


def features(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=FEATURES_SCHEMA)


def labels(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=LABELS)


def hashes(joined: Any) -> list[str]:
    found: list[str] = joined.rows["_spec_hash"].to_list()
    return found


def test_the_template_that_made_the_pod_comes_first() -> None:
    specs = features(spec("web", "old", 0.0), spec("web", "new", 50.0))
    assert hashes(join_rows(specs, labels(label("web", 100.0, "old")))) == ["old"]


def test_hashes_of_an_older_version_are_counted_and_their_labels_join_by_time() -> None:
    specs = features(spec("web", "new", 0.0, spec_hash_version=HASH_VERSION), spec("db", "b", 0.0))
    told = labels(label("web", 100.0, "old"), label("db", 100.0))
    joined = join_rows(specs, told)
    assert hashes(joined) == ["new", "b"]
    assert joined.rows["spec_hash_version"].to_list() == [HASH_VERSION, None]
    first, second = joined.report.warnings(features="features.parquet", labels="labels.parquet")
    assert first.startswith("features.parquet: 1 of 2 spec hashes are of a version before 3")
    assert "podpower encode transform" in first
    assert second.startswith("labels.parquet: 1 of 2 spec hashes")
    assert "`podpower label`" in second


def test_hashes_of_another_system_are_as_good_as_any() -> None:
    specs = features(spec("web", "theirs", 0.0, encoder_fingerprint=None))
    joined = join_rows(specs, labels(label("web", 100.0)))
    assert hashes(joined) == ["theirs"]
    assert joined.report.warnings(features="f", labels="l") == []


def test_without_it_the_spec_in_force_at_the_step_is_taken() -> None:
    specs = features(spec("web", "new", 50.0), spec("web", "old", 0.0))
    assert hashes(join_rows(specs, labels(label("web", 49.0), label("web", 50.0), label("web", 99.0)))) == [
        "old",
        "new",
        "new",
    ]


def test_a_pods_own_spec_is_the_last_resort_and_the_only_one_for_pods_of_a_node() -> None:
    specs = features(spec("etcd-n1", "pod", kind="Pod"), spec("n1", "other", kind="Node"))
    own = label("agent", kind="DaemonSet", pod="etcd-n1")
    static = label("n1", kind="Node", pod="etcd-n1")
    assert hashes(join_rows(specs, labels(own, static))) == ["pod", "pod"]


def test_kind_and_namespace_are_part_of_a_name() -> None:
    joined = join_rows(
        features(spec("web", "a", kind="StatefulSet")), labels(label("web"), label("web", namespace="m"))
    )
    assert len(joined.rows) == 0
    assert joined.report.unjoined == {NO_SPEC: 2}
    assert joined.report.examples == {NO_SPEC: ["n/Deployment/web", "m/Deployment/web"]}


def test_a_label_older_than_its_spec_is_not_joined_and_reported() -> None:
    joined = join_rows(features(spec("web", "a", 500.0)), labels(label("web", 100.0)))
    assert joined.report.unjoined == {NOT_YET_OBSERVED: 1}


def test_clusters_are_kept_apart_where_both_sides_name_them() -> None:
    specs = features(spec("web", "a", cluster="one"), spec("web", "b", cluster="two"))
    assert hashes(join_rows(specs, labels(label("web", cluster="one"), label("web", cluster="two")))) == ["a", "b"]
    assert len(join_rows(specs, labels(label("web"))).rows) == 1
    assert hashes(join_rows(features(spec("web", "a")), labels(label("web", cluster="one")))) == ["a"]


def test_two_encoders_are_not_mixed() -> None:
    with pytest.raises(InvalidInput, match="features of 2 encoders"):
        join_rows(features(spec("a", "a"), spec("b", "b", encoder_fingerprint="f")), labels(label("a")))


def test_the_report_counts_everything() -> None:
    joined = join_rows(features(spec("web", "a"), spec("idle", "b")), labels(label("web"), label("gone")))
    report = joined.report
    assert (report.labels, report.joined, report.specs, report.specs_without_labels) == (2, 1, 2, 1)
    assert report.join_rate == 0.5
    assert str(report).startswith("1 of 2 labels joined; 1 no_spec (e.g. n/Deployment/gone)")


def test_a_report_names_each_reason_with_five_workloads_at_most_and_the_specs_without_labels() -> None:
    gone = [label(name, digest=None) for name in ("a", "b", "a", "c", "d", "e", "f")]
    report = join_rows(features(spec("web", "w"), spec("late", "l", 500.0)), labels(*gone, label("late"))).report
    assert report.unjoined == {"no_spec": 7, "spec_not_yet_observed": 1}
    assert report.examples["no_spec"] == [f"n/Deployment/{name}" for name in "abcde"]
    assert str(report) == (
        "0 of 8 labels joined; 7 no_spec (e.g. n/Deployment/a, n/Deployment/b, n/Deployment/c, n/Deployment/d, "
        "n/Deployment/e); 1 spec_not_yet_observed (e.g. n/Deployment/late); 2 of 2 specs have no label"
    )


def test_a_row_has_every_column_of_its_spec() -> None:
    of_spec = {
        "_spec_hash": "a", "spec_hash_version": HASH_VERSION, "encoder_fingerprint": "e", "image_key": "acme/web",
        "physical_power_w": 2.5, "feature_blocks": [1, 2], "vec_len": 3, "features": [1.0, 2.0, 3.0],
    }  # fmt: skip
    joined = join_rows(features(spec("db", "b"), spec("web", "a") | of_spec), labels(label("web")))
    assert {name: joined.rows[name][0] for name in FROM_SPEC if name not in {"features", "feature_blocks"}} == {
        name: value for name, value in of_spec.items() if name not in {"features", "feature_blocks"}
    }
    assert joined.rows["features"].to_list() == [[1.0, 2.0, 3.0]]
    assert joined.rows["feature_blocks"].to_list() == [[1, 2]]


def test_columns_that_an_older_table_of_features_lacks_are_null() -> None:
    older = features(spec("web", "a")).drop("physical_power_w", "feature_blocks", "spec_hash_version", "cluster")
    rows = join_rows(older, labels(label("web", cluster="one"))).rows
    assert {name: rows.schema[name] for name in FROM_SPEC} == FROM_SPEC
    assert rows["physical_power_w"].to_list() == [None]
    assert rows["cluster"].to_list() == ["one"]


def test_labels_of_another_system_without_hashes_join_by_workload_and_time() -> None:
    theirs = labels(label("web", 60.0), label("web", 10.0)).drop("_spec_hash", "cluster")
    joined = join_rows(features(spec("web", "old", 0.0), spec("web", "new", 50.0)), theirs)
    assert hashes(joined) == ["new", "old"]
    assert joined.report.older_labels == 0


@pytest.mark.parametrize("column", ["end_s", "start_s"])
def test_a_job_joins_the_spec_in_force_at_its_end_or_else_its_start(column: str) -> None:
    jobs = labels(label("web")).drop("ts", "end_s").with_columns(pl.lit(40.0).alias(column))
    assert hashes(join_rows(features(spec("web", "old", 0.0), spec("web", "new", 50.0)), jobs)) == ["old"]


def test_a_label_without_a_time_joins_the_latest_spec() -> None:
    specs = features(spec("web", "new", 50.0), spec("web", "old", 0.0))
    assert hashes(join_rows(specs, labels(label("web", ts=None)))) == ["new"]  # type: ignore[arg-type]


def test_of_two_specs_observed_at_one_time_the_last_in_the_table_joins() -> None:
    first, last = spec("web", "a", 50.0), spec("web", "b", 50.0)
    assert hashes(join_rows(features(first, last), labels(label("web")))) == ["b"]
    assert hashes(join_rows(features(last, first), labels(label("web")))) == ["a"]


@pytest.mark.parametrize(
    "other", [{"pod": "etcd-n2"}, {"pod": "etcd-n1", "namespace": "m"}], ids=["another name", "another namespace"]
)
def test_the_own_spec_of_another_pod_does_not_join(other: dict[str, str]) -> None:
    specs = features(spec("etcd-n1", "pod", kind="Pod"))
    joined = join_rows(specs, labels(label("n1", kind="Node", **other)))
    assert joined.report.unjoined == {NO_SPEC: 1}


@pytest.mark.parametrize("empty", ["features", "labels"])
def test_nothing_to_join_gives_no_rows_but_their_columns(empty: str) -> None:
    specs = features() if empty == "features" else features(spec("web", "a"))
    found = join_rows(specs, labels() if empty == "labels" else labels(label("web")))
    assert len(found.rows) == 0
    assert {"features", "_spec_hash", "energy_step_j"} <= set(found.rows.columns)
    assert [len(chunk) for chunk in found.chunks()] == [0]


NAMES = st.sampled_from(["a", "b", "c"])


@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from(["x", "yy", "zzz"]), st.one_of(st.none(), st.floats(0, 200))), max_size=12
    ),
    st.lists(st.tuples(NAMES, st.floats(0, 200), st.sampled_from([None, "x", "yy"])), max_size=12),
    st.integers(1, 5),
)
def test_there_is_never_more_than_one_row_a_label(specs: Any, steps: Any, size: int) -> None:
    given_labels = labels(*(label(name, ts, digest, pod=f"p{i}") for i, (name, ts, digest) in enumerate(steps)))
    joined = join_rows(features(*(spec(*s) for s in specs)), given_labels)
    assert joined.rows["pod"].is_unique().all()
    assert set(joined.rows["pod"]) <= set(given_labels["pod"])
    assert joined.report.joined + sum(joined.report.unjoined.values()) == len(given_labels)
    assert [f[0] for f in joined.rows["features"]] == [float(len(h)) for h in joined.rows["_spec_hash"]]
    assert pl.concat(joined.chunks(size=size)).equals(joined.rows)


def test_labels_in_batches_join_as_all_at_once() -> None:
    specs = features(
        spec("web", "new", 50.0), spec("web", "old", 0.0), spec("idle", "b"), spec("p3-x", "c", kind="Pod")
    )
    steps = labels(*(label(f"{name}", 10.0 * i) for i in range(12) for name in ("web", "gone", "p3")))
    whole, joiner = join_rows(specs, steps), Joiner(specs)
    parts = [joiner.join(steps.slice(start, 7)).rows for start in range(0, len(steps), 7)]
    assert pl.concat(parts).equals(whole.rows)
    assert joiner.report == whole.report
