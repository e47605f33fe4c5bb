"""A credential that older rules missed leaves the stored specs, and nothing else of them changes."""

from pathlib import Path

import msgspec
import polars as pl
import pytest

from podpower.datasets.hash_versions import HASH_VERSION
from podpower.io.parquet import TableFile, write_parquet
from podpower.retention.redaction import redact_tables
from podpower.specs.ndjson import encode_request
from podpower.specs.observing import Observation
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.table import rehashed, specs_table

SECRET, NAME = "hunter2Hunter2", "workload_specs"


def table_of(*, version: int, args: list[str]) -> pl.DataFrame:
    request = InferenceRequest(
        namespace="shop", workload_kind="Deployment", workload_name="cart",
        containers=[Container(name="main", image="vault:1", args=args)],
    )  # fmt: skip
    table = specs_table([Observation(request=request, spec_hash="0" * 64, observed_from_s=0.0)])
    stored = msgspec.structs.replace(request)  # as rules of that time left it
    return table.with_columns(
        pl.lit(version, pl.Int64).alias("spec_hash_version"), pl.lit(encode_request(stored).decode()).alias("request")
    )


def read(path: Path) -> pl.DataFrame:
    return TableFile(path=path, command="none").read()


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    found = {
        "older": tmp_path / NAME / "2026-01-01-0000.parquet",
        "of a cluster": tmp_path / "eu-2" / NAME / "2026-01-01-0000.parquet",
        "harmless": tmp_path / NAME / "2026-01-01-0100.parquet",
        "current": tmp_path / NAME / "2026-01-01-0200.parquet",
        "other asset": tmp_path / "features" / "2026-01-01-0000.parquet",
    }
    for name, path in found.items():
        args = ["server"] if name == "harmless" else ["vault", "login", SECRET]
        write_parquet(table_of(version=HASH_VERSION if name == "current" else 2, args=args), path)
    return found


def test_texts_of_older_rules_lose_their_credential_and_keep_their_hash(tmp_path: Path, paths: dict[str, Path]) -> None:
    before = {name: path.read_bytes() for name, path in paths.items()}
    renewed = rehashed(read(paths["older"]))
    found = redact_tables(tmp_path, asset=NAME)
    assert (found.tables, found.specs, found.problems) == (2, 2, ())
    for name in ("older", "of a cluster"):
        table = read(paths[name])
        assert SECRET not in table["request"].item()
        assert "vault" in table["request"].item()
        assert table["_spec_hash"].to_list() == ["0" * 64]
        assert table["spec_hash_version"].to_list() == [2]
        assert rehashed(table).equals(renewed)
    for name in ("harmless", "current", "other asset"):
        assert paths[name].read_bytes() == before[name]
    assert redact_tables(tmp_path, asset=NAME).tables == 0


def test_a_damaged_table_is_named_and_the_others_are_redacted(tmp_path: Path, paths: dict[str, Path]) -> None:
    data = bytearray(paths["harmless"].read_bytes())
    data[len(data) // 2] ^= 1
    paths["harmless"].write_bytes(data)
    found = redact_tables(tmp_path, asset=NAME)
    assert found.specs == 2
    assert [str(paths["harmless"]) in problem for problem in found.problems] == [True]


def test_a_table_that_is_written_meanwhile_stays(
    tmp_path: Path, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = iter(range(100))
    monkeypatch.setattr("podpower.retention.redaction.stamp", lambda _: (next(stamps), 0.0))
    before = paths["older"].read_bytes()
    assert redact_tables(tmp_path, asset=NAME).specs == 0
    assert paths["older"].read_bytes() == before


def test_specs_that_are_renewed_hold_no_credential_of_their_time(paths: dict[str, Path]) -> None:
    assert SECRET in read(paths["older"])["request"].item()
    assert SECRET not in rehashed(read(paths["older"]))["request"].item()
