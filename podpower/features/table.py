"""`features.parquet`: the vectors of requests beside what rows are joined and grouped by."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from podpower.errors import InvalidInput
from podpower.features.encoder import Encoder
from podpower.features.names import main_image_key
from podpower.features.physical import physical_power_w
from podpower.io.parquet import TableFile
from podpower.io.places import AnyPath
from podpower.specs.hashing import hash_version, spec_hash
from podpower.specs.requests import InferenceRequest

FEATURES_SCHEMA = pl.Schema(
    {
        "cluster": pl.String(),
        "namespace": pl.String(),
        "workload_kind": pl.String(),
        "workload_name": pl.String(),
        "_spec_hash": pl.String(),
        "spec_hash_version": pl.Int64(),
        "observed_from_s": pl.Float64(),
        "encoder_fingerprint": pl.String(),
        "image_key": pl.String(),
        "physical_power_w": pl.Float64(),
        "replicas": pl.Int64(),
        "vec_len": pl.Int64(),
        "feature_blocks": pl.List(pl.Int64()),
        "features": pl.List(pl.Float32()),
    }
)
COMMAND = "podpower encode transform --input in.ndjson --encoder encoder.joblib --out features.parquet"
REQUIRED_COLUMNS = ("namespace", "workload_kind", "workload_name", "_spec_hash", "features")


def features_table(
    requests: Sequence[InferenceRequest],
    vectors: NDArray[np.float32],
    *,
    encoder: Encoder,
    observed_from_s: Sequence[float | None] | None = None,
) -> pl.DataFrame:
    """Return a row of FEATURES_SCHEMA for each request and its vector (n, dim) of `encoder`.

    `observed_from_s` holds when each spec came into force (Unix seconds; None: always). InvalidInput when the
    vectors are not the encoder's.
    """
    if vectors.shape != (len(requests), encoder.dim):
        raise InvalidInput(f"vectors of shape {vectors.shape} are not {len(requests)} of the encoder's {encoder.dim}")
    features = pl.Series("features", np.ascontiguousarray(vectors, dtype=np.float32), pl.Array(pl.Float32, encoder.dim))
    return pl.DataFrame(
        {
            "cluster": [request.cluster for request in requests],
            "namespace": [request.namespace for request in requests],
            "workload_kind": [request.workload_kind for request in requests],
            "workload_name": [request.workload_name for request in requests],
            "_spec_hash": [spec_hash(request) for request in requests],
            "spec_hash_version": [hash_version(request) for request in requests],
            "observed_from_s": observed_from_s if observed_from_s is not None else [None] * len(requests),
            "encoder_fingerprint": [encoder.fingerprint] * len(requests),
            "image_key": [main_image_key(request) for request in requests],
            "physical_power_w": physical_power_w(requests),
            "replicas": [request.replicas for request in requests],
            "vec_len": [encoder.dim] * len(requests),
            "feature_blocks": [list(encoder.blocks.values())] * len(requests),
            "features": features.arr.to_list(),
        },
        schema=FEATURES_SCHEMA,
    )


def read_features(path: AnyPath) -> pl.DataFrame:
    """Return a features table of podpower or of the reference system (whose missing columns become null).

    InvalidInput when the file is no Parquet, lacks one of REQUIRED_COLUMNS, or holds vectors of two lengths.
    """
    return checked_features(TableFile(path=path, command=COMMAND).read(), source=str(path))


def checked_features(table: pl.DataFrame, *, source: str) -> pl.DataFrame:
    """Return `table` as `read_features` does."""
    missing = [column for column in REQUIRED_COLUMNS if column not in table.columns]
    if missing:
        raise InvalidInput(
            f"{source}: lacks the columns {', '.join(missing)}; make it with `podpower encode transform`"
        )
    if not isinstance(table.schema["features"], pl.List | pl.Array):
        raise InvalidInput(f"{source}: features must be lists of numbers, not {table.schema['features']}")
    absent = {name: kind for name, kind in FEATURES_SCHEMA.items() if name not in table.columns}
    table = table.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items())
    try:
        table = table.cast(FEATURES_SCHEMA)
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"{source}: {str(error).splitlines()[0]}; expected {FEATURES_SCHEMA}") from error
    lengths = table["features"].list.len().unique().to_list()
    if len(lengths) > 1:
        raise InvalidInput(f"{source}: mixes vectors of {sorted(lengths)} numbers: encode all with one encoder")
    return table
