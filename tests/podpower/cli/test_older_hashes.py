"""Files of a podpower that kept no version of spec hashes: nothing is lost, and what is older is counted."""

import json
import shutil

import polars as pl
import pytest

from podpower.cli import main
from podpower.registry.sealing import seal, unseal


@pytest.fixture
def older(workflow, tmp_path):
    """The workflow's files as such a podpower wrote them."""
    for name in ("features.parquet", "train_rows.parquet"):
        table = pl.read_parquet(workflow / name).drop("spec_hash_version")
        table.with_columns(("0" + pl.col("_spec_hash").str.slice(1)).alias("_spec_hash")).write_parquet(tmp_path / name)
    for name in ("labels.parquet", "shop.yaml", "encoder.joblib"):
        shutil.copy(workflow / name, tmp_path)
    state = unseal((workflow / "knn_energy.joblib").read_bytes(), kind="knn_energy")
    del state["spec_hash_version"]
    (tmp_path / "knn_energy.joblib").write_bytes(seal("knn_energy", state, description={}))
    return tmp_path


def test_join_and_train_count_older_hashes_and_name_file_versions_and_command(older, capsys):
    told = "spec hashes are of a version before 3"
    command = "join --features {0}/features.parquet --labels {0}/labels.parquet --out {0}/rows.parquet"
    assert main(command.format(older).split()) == 0
    printed = capsys.readouterr().err
    assert f"{older}/features.parquet: " in printed
    assert told in printed
    assert "`podpower encode transform`" in printed
    before = len(pl.read_parquet(older / "train_rows.parquet"))
    assert len(pl.read_parquet(older / "rows.parquet")) == before
    assert main(f"train --train {older}/rows.parquet --out {older}/model.joblib".split()) == 0
    printed = capsys.readouterr().err
    assert f"{older}/rows.parquet: " in printed
    assert told in printed


def test_an_older_model_predicts_with_a_note(older, workflow, capsys):
    command = "predict --input {0}/shop.yaml --encoder {0}/encoder.joblib --model {0}/knn_energy.joblib --format json"
    assert main(command.format(older).split()) == 0
    printed = capsys.readouterr()
    assert "spec hashes of the model are of version 1, not 3" in printed.err
    predictions = json.loads(printed.out)
    listed = predictions if isinstance(predictions, list) else predictions["predictions"]
    assert {prediction["basis"] for prediction in listed} == {"seen"}  # their redaction did not change
    assert main(command.format(workflow).split()) == 0
    assert "spec hashes" not in capsys.readouterr().err


def test_a_request_with_an_older_template_digest_is_counted(older, capsys):
    main(["collect", "from-file", str(older / "shop.yaml")])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in lines:
        line |= {"template_digest": "0" * 64, "template_digest_version": None}
    (older / "old.ndjson").write_text("\n".join(json.dumps(line) for line in lines))
    command = "encode transform --input {0}/old.ndjson --encoder {0}/encoder.joblib --out {0}/again.parquet"
    assert main(command.format(older).split()) == 0
    assert f"old.ndjson: {len(lines)} of {len(lines)} spec hashes are of a version before 3" in capsys.readouterr().err
    assert pl.read_parquet(older / "again.parquet")["spec_hash_version"].unique().to_list() == [1]
