"""Stored specs of an older podpower get the hashes of this one."""

import msgspec
import polars as pl
import pytest

from podpower.datasets.hash_versions import FIRST_VERSION, HASH_VERSION
from podpower.datasets.renewal import renewed
from podpower.specs.hashing import spec_hash
from podpower.specs.ndjson import encode_request
from podpower.specs.normalising import request_from_object
from podpower.specs.observing import Observation
from podpower.specs.redaction import redact_request
from podpower.specs.requests import InferenceRequest
from podpower.specs.table import rehashed, renewals, specs_table
from tests.podpower.specs.manifests import deployment

SECRET = "hunter2hunter2"
OLD_HASH = "0" * 64


@pytest.fixture
def request_() -> InferenceRequest:
    return request_from_object(deployment(args=["mysql", f"-p{SECRET}"]))


@pytest.fixture
def stored(request_: InferenceRequest) -> pl.DataFrame:
    """What a podpower without versions wrote of a spec whose password it did not find."""
    container = msgspec.structs.replace(request_.containers[0], args=["mysql", f"-p{SECRET}"])
    kept = msgspec.structs.replace(request_, containers=[container])
    table = specs_table([Observation(request=kept, spec_hash=OLD_HASH, observed_from_s=0.0)])
    assert SECRET in encode_request(kept).decode()
    return table.drop("spec_hash_version")


def test_specs_carry_the_version_of_their_hash(request_: InferenceRequest) -> None:
    table = specs_table([Observation(request=request_, spec_hash=spec_hash(request_), observed_from_s=0.0)])
    assert table["spec_hash_version"].to_list() == [HASH_VERSION]
    assert rehashed(table).equals(table)


def test_older_specs_are_hashed_again_from_their_request(request_: InferenceRequest, stored: pl.DataFrame) -> None:
    now = rehashed(stored)
    assert now["_spec_hash"].to_list() == [spec_hash(request_)]
    assert now["spec_hash_version"].to_list() == [HASH_VERSION]


def test_specs_of_version_2_whose_secrets_it_did_not_find_are_renewed(request_: InferenceRequest) -> None:
    container = msgspec.structs.replace(request_.containers[0], args=["vault", "login", "hunter2Hunter2"])
    kept = msgspec.structs.replace(request_, containers=[container])
    table = specs_table([Observation(request=kept, spec_hash=OLD_HASH, observed_from_s=0.0)])
    now = rehashed(table.with_columns(spec_hash_version=pl.lit(2, pl.Int64)))
    assert now["spec_hash_version"].to_list() == [HASH_VERSION]
    assert now["_spec_hash"].to_list() == [spec_hash(redact_request(kept))]
    assert spec_hash(redact_request(kept)) != spec_hash(kept)


def test_an_older_template_digest_keeps_its_version(stored: pl.DataFrame) -> None:
    request = request_from_object(deployment(env=[{"name": "MODE", "value": "x"}]))
    request = msgspec.structs.replace(request, template_digest_version=None)
    table = stored.with_columns(request=pl.lit(encode_request(request).decode()))
    assert rehashed(table)["spec_hash_version"].to_list() == [FIRST_VERSION]


def test_older_rows_take_the_new_hash_of_their_stored_spec(request_: InferenceRequest, stored: pl.DataFrame) -> None:
    rows = pl.DataFrame({"_spec_hash": [OLD_HASH, "gone", None], "ts": [1.0, 2.0, 3.0]})
    now = renewed(rows, renewals(stored))
    assert now["_spec_hash"].to_list() == [spec_hash(request_), "gone", None]
    assert now["spec_hash_version"].to_list() == [HASH_VERSION, None, None]
    assert renewed(rows, renewals(None))["_spec_hash"].to_list() == rows["_spec_hash"].to_list()
