"""The `workload_specs` table of observations."""

from collections.abc import Sequence

import polars as pl

from podpower.datasets.renewal import RENEWALS_SCHEMA, is_older, renewals_of, with_version
from podpower.specs.hashing import hash_version, spec_hash
from podpower.specs.ndjson import decode_request, encode_request
from podpower.specs.observing import Observation
from podpower.specs.requests import InferenceRequest

REQUEST = "request"  # JSON of the InferenceRequest
POD_STRUCT = pl.Struct(
    {
        "pod": pl.String, "uid": pl.String, "from_s": pl.Float64, "to_s": pl.Float64, "node": pl.String,
        "outcome": pl.String,
    }
)  # fmt: skip
SPECS_SCHEMA = pl.Schema(
    {
        "cluster": pl.String(),
        "namespace": pl.String(),
        "workload_kind": pl.String(),
        "workload_name": pl.String(),
        "_spec_hash": pl.String(),
        "spec_hash_version": pl.Int64(),
        "observed_from_s": pl.Float64(),
        "observed_to_s": pl.Float64(),
        REQUEST: pl.String(),
        "pods": pl.List(POD_STRUCT),
    }
)


def specs_table(observations: Sequence[Observation]) -> pl.DataFrame:
    """Return one row for each observation, in SPECS_SCHEMA."""
    return pl.DataFrame(
        [
            {
                "cluster": o.request.cluster,
                "namespace": o.request.namespace,
                "workload_kind": o.request.workload_kind,
                "workload_name": o.request.workload_name,
                "_spec_hash": o.spec_hash,
                "spec_hash_version": hash_version(o.request),
                "observed_from_s": o.observed_from_s,
                "observed_to_s": o.observed_to_s,
                REQUEST: encode_request(o.request).decode(),
                "pods": [vars(pod) for pod in o.pods],
            }
            for o in observations
        ],
        schema=SPECS_SCHEMA,
    )


def requests_of(table: pl.DataFrame) -> list[InferenceRequest]:
    """Return the request of each row."""
    return [decode_request(line.encode()) for line in table[REQUEST]]


def rehashed(specs: pl.DataFrame) -> pl.DataFrame:
    """Return the `workload_specs` table with hashes of this version, computed from `request` where they are older, and
    with its text redacted by the rules of this version.
    """
    specs = with_version(specs)
    if not specs.select(is_older().any()).item():
        return specs
    requests = requests_of(specs)
    return _with_texts(specs, requests).with_columns(
        pl.Series("_spec_hash", [spec_hash(request) for request in requests], pl.String),
        pl.Series("spec_hash_version", [hash_version(request) for request in requests], pl.Int64),
    )


def redacted(specs: pl.DataFrame) -> pl.DataFrame:
    """Return the `workload_specs` table without credentials in any `request`; hashes and versions stay."""
    return _with_texts(specs, requests_of(specs))


def _with_texts(specs: pl.DataFrame, requests: Sequence[InferenceRequest]) -> pl.DataFrame:
    return specs.with_columns(pl.Series(REQUEST, [encode_request(request).decode() for request in requests], pl.String))


def renewals(specs: pl.DataFrame | None) -> pl.DataFrame:
    """Return the replacements of older hashes of stored specs (podpower.datasets.renewal)."""
    return pl.DataFrame(schema=RENEWALS_SCHEMA) if specs is None else renewals_of(specs, rehashed(specs))
