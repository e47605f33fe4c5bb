import numpy as np
import polars as pl
import pytest

from podpower.errors import InvalidInput
from podpower.features.encoder import Encoder
from podpower.features.table import FEATURES_SCHEMA, features_table, read_features
from podpower.io.parquet import write_parquet
from podpower.specs.hashing import spec_hash


@pytest.fixture(scope="module")
def encoder(cluster):
    return Encoder.fit(cluster)


@pytest.fixture(scope="module")
def table(encoder, cluster):
    return features_table(cluster, encoder.transform(cluster), encoder=encoder)


def test_a_row_a_request_with_what_rows_are_joined_by(table, encoder, cluster):
    assert table.schema == FEATURES_SCHEMA
    assert table["_spec_hash"].to_list() == [spec_hash(request) for request in cluster]
    assert table["image_key"].to_list()[:2] == ["nginx", "acme/shop-frontend"]
    assert set(table["encoder_fingerprint"]) == {encoder.fingerprint}
    assert table["vec_len"].to_list() == [encoder.dim] * len(cluster)
    np.testing.assert_array_equal(np.stack(table["features"].to_numpy()), encoder.transform(cluster))
    assert table["observed_from_s"].null_count() == len(cluster)


def test_times_of_observation_are_kept(encoder, cluster):
    times = [float(index) for index in range(len(cluster))]
    table = features_table(cluster, encoder.transform(cluster), encoder=encoder, observed_from_s=times)
    assert table["observed_from_s"].to_list() == times


def test_vectors_of_another_encoder_are_rejected(encoder, cluster):
    with pytest.raises(InvalidInput, match="not 8 of the encoder's"):
        features_table(cluster, np.zeros((8, 3), dtype=np.float32), encoder=encoder)


def test_no_request_gives_an_empty_table(encoder, tmp_path):
    empty = features_table([], encoder.transform([]), encoder=encoder)
    write_parquet(empty, tmp_path / "f.parquet")
    assert read_features(tmp_path / "f.parquet").is_empty()


def test_what_is_written_is_read(table, tmp_path):
    write_parquet(table, tmp_path / "features.parquet")
    assert read_features(tmp_path / "features.parquet").equals(table)
    assert [path.name for path in tmp_path.iterdir()] == ["features.parquet"]


def test_files_of_the_reference_system_are_read(table, tmp_path):
    path = tmp_path / "features.parquet"
    table.select("namespace", "workload_kind", "workload_name", "_spec_hash", "vec_len", "features").with_columns(
        pl.col("features").cast(pl.List(pl.Float64))
    ).write_parquet(path)
    read = read_features(path)
    assert set(read.columns) == set(FEATURES_SCHEMA)
    assert read["encoder_fingerprint"].null_count() == len(table)
    assert read.schema["features"] == pl.List(pl.Float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop("features"), "lacks the columns features"),
        (lambda t: t.with_columns(features=pl.lit("1,2")), "lists of numbers"),
        (lambda t: t.with_columns(features=pl.lit(["a"], pl.List(pl.String))), "expected"),
        (
            lambda t: t.with_columns(
                features=pl.when(pl.int_range(pl.len()) == 0)
                .then(pl.col("features").list.head(2))
                .otherwise("features")
            ),
            "mixes vectors",
        ),
    ],
    ids=["no features", "strings", "lists of strings", "two lengths"],
)
def test_a_wrong_table_is_rejected(table, tmp_path, spoil, message):
    path = tmp_path / "features.parquet"
    spoil(table).write_parquet(path)
    with pytest.raises(InvalidInput, match=message):
        read_features(path)


def test_a_file_that_is_no_parquet_is_rejected(table, tmp_path):
    path = tmp_path / "features.parquet"
    path.write_bytes(b"namespace,workload_kind\n")
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        read_features(path)
    write_parquet(table, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidInput, match="is damaged: its end is missing"):
        read_features(path)
    with pytest.raises(InvalidInput, match="no such file"):
        read_features(tmp_path / "absent.parquet")
