"""`podpower predict` in every format, from every form of input."""

import csv
import io
import json

import pytest
import yaml

from podpower.cli import main
from tests.podpower.cli.shop import manifest

SEEN = manifest("shop-nginx", "nginx:1.27", cpu="100m")


@pytest.fixture
def predict(workflow, capsys):
    def run(path, form):
        arguments = ["--encoder", f"{workflow}/encoder.joblib", "--model", f"{workflow}/knn_energy.joblib"]
        assert main(["predict", *arguments, "--input", str(path), "--format", form]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def seen(tmp_path):
    path = tmp_path / "seen.yaml"
    path.write_text(f"{SEEN}---\n{manifest('stranger', 'unknown.example/thing:1')}")
    return path


def test_json_has_the_fields_of_the_http_answer(predict, seen):
    known, stranger = json.loads(predict(seen, "json"))["predictions"]
    assert known["basis"] == "seen"
    assert known["replicas"] == 2
    assert known["pred_energy_step_j"] == pytest.approx(4.97, abs=0.02)
    assert known["pred_avg_power_w"] == pytest.approx(known["pred_energy_step_j"] / 60)
    assert known["total_avg_power_w"] == pytest.approx(2 * known["pred_avg_power_w"])
    assert stranger["basis"] in {"similar", "prior"}
    low, high = stranger["interval"]["energy_step_j"]
    assert low <= stranger["pred_energy_step_j"] <= high


def test_yaml_and_csv_contain_the_same_as_json(predict, seen):
    answer = json.loads(predict(seen, "json"))
    assert yaml.safe_load(predict(seen, "yaml")) == answer
    expected = answer["predictions"]
    rows = list(csv.DictReader(io.StringIO(predict(seen, "csv"))))
    for row, prediction in zip(rows, expected, strict=True):
        assert float(row["pred_avg_power_w"]) == prediction["pred_avg_power_w"]
        assert float(row["interval_avg_power_w_low"]) == prediction["interval"]["avg_power_w"][0]
        assert row["pred_total_energy_j"] == ""
        low, high = prediction["total_interval"]["avg_power_w"]
        assert float(row["total_interval_avg_power_w_low"]) == low
        assert float(row["total_interval_avg_power_w_high"]) == high
        assert not any("{" in value for value in row.values())


def test_an_explanation_names_what_each_prediction_is_made_of(workflow, seen, capsys):
    arguments = ["--encoder", f"{workflow}/encoder.joblib", "--model", f"{workflow}/knn_energy.joblib", "--explain"]
    assert main(["predict", *arguments, "--input", str(seen)]) == 0
    table = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert table[0].split()[-2:] == ["rests", "on"]
    own, *others = table[2:]
    assert own.split()[:2] == ["shop/shop-nginx", "100%"]
    assert own.rstrip().endswith("shop/Deployment/shop-nginx")
    shares = [int(share.rstrip("%")) for line in others for share in line.split() if share.endswith("%")]
    assert 98 <= sum(shares) <= 102
    assert main(["predict", *arguments, "--input", str(seen), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["neighbours"][0]["workload_name"] == "shop-nginx"
    assert main(["predict", *arguments, "--input", str(seen), "--format", "csv"]) == 2
    assert "json or yaml" in capsys.readouterr().err


def test_the_table_ends_with_the_total(predict, seen):
    lines = predict(seen, "table").splitlines()
    assert lines[0].split()[:3] == ["workload", "kind", "W"]
    assert "kWh/month" in lines[0]
    (total,) = [line.split() for line in lines if line.startswith("total")]
    assert total[-1] == "4"
    assert total[-2] in {"kWh", "Wh"}


def test_each_basis_is_explained_in_one_line(predict, seen):
    lines = predict(seen, "table").splitlines()
    bases = {one["basis"] for one in json.loads(predict(seen, "json"))["predictions"]}
    assert {line.partition(":")[0] for line in lines if line.startswith(("seen:", "similar:", "prior:"))} == bases


def test_every_form_of_input_gives_the_same(predict, seen, workflow, tmp_path, monkeypatch, capsys):
    expected = predict(seen, "json")
    assert main(["collect", "from-file", str(seen)]) == 0
    ndjson = capsys.readouterr().out.encode()
    forms = {
        "in.ndjson": ndjson,
        "objects.json": json.dumps(list(yaml.safe_load_all(seen.read_text()))).encode(),
        "requests.json": json.dumps([json.loads(line) for line in ndjson.splitlines()], indent=2).encode(),
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        assert main(["predict", "--encoder", f"{workflow}/encoder.joblib", "--model", f"{workflow}/knn_energy.joblib",
                     "--input", str(tmp_path / name), "--format", "json"]) == 0  # fmt: skip
        assert capsys.readouterr().out == expected, name
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(ndjson)))
    assert main(["predict", "--encoder", f"{workflow}/encoder.joblib", "--model", f"{workflow}/knn_energy.joblib",
                 "--input", "-", "--format", "json"]) == 0  # fmt: skip
    assert capsys.readouterr().out == expected


def test_a_workload_in_two_lines_counts_once(predict, seen, tmp_path, capsys):
    assert main(["collect", "from-file", str(seen)]) == 0
    (tmp_path / "twice.ndjson").write_text(capsys.readouterr().out * 2)
    once, twice = json.loads(predict(seen, "json")), json.loads(predict(tmp_path / "twice.ndjson", "json"))
    assert len(twice["predictions"]) == 2 * len(once["predictions"])
    assert twice["total"] == once["total"] | {"duplicates": len(once["predictions"])}
    assert "counted once" in predict(tmp_path / "twice.ndjson", "table")


def test_one_pretty_printed_request_is_read(predict, tmp_path):
    request = {
        "workload_kind": "Deployment",
        "workload_name": "nginx",
        "namespace": "default",
        "pod_spec": {"containers": [{"name": "nginx", "image": "nginx:1.25"}]},
    }
    path = tmp_path / "sample.json"
    path.write_text(json.dumps(request, indent=4))
    assert json.loads(predict(path, "json"))["predictions"][0]["workload_name"] == "nginx"


def test_without_files_the_served_model_of_the_store_predicts(workflow, seen, tmp_path, monkeypatch, capsys, predict):
    given = json.loads(predict(seen, "json"))["predictions"]
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path))
    files = [f"{workflow}/encoder.joblib", f"{workflow}/knn_energy.joblib"]
    assert main(["models", "add", "--encoder", files[0], "--model", files[1]]) == 0
    assert main(["models", "promote", capsys.readouterr().out.split()[0]]) == 0
    capsys.readouterr()
    assert main(["predict", "-f", str(seen), "--format", "json"]) == 0
    printed = capsys.readouterr()
    served = json.loads(printed.out)["predictions"]
    version = served[0]["model_version"]
    assert f"predicted by {version}, the served model of {tmp_path}/models" in printed.err
    assert [{**one, "model_version": "file"} for one in served] == given


def test_a_served_model_of_an_earlier_podpower_is_named_with_what_to_do(workflow, seen, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path))
    files = [f"{workflow}/encoder.joblib", f"{workflow}/knn_energy.joblib"]
    assert main(["models", "add", "--encoder", files[0], "--model", files[1]]) == 0
    assert main(["models", "promote", capsys.readouterr().out.split()[0]]) == 0
    monkeypatch.setattr("podpower.features.encoder.SCHEMA_VERSION", 1 << 20)
    assert main(["predict", "-f", str(seen)]) == 1
    said = capsys.readouterr().err
    assert f"error: the served model of {tmp_path}/models cannot be used: " in said
    assert "materialize knn_model for another one, or give --encoder and --model" in said


def test_where_no_model_is_served_the_estimate_from_resources_names_the_store(seen, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "new"))
    assert main(["predict", "-f", str(seen)]) == 0
    assert f"{tmp_path}/new/models serves none" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("measured_on", "asked", "basis", "note"),
    [
        ("m6g.large", "m6g.large", "seen", None),
        ("m6g.large", "m5.large", "similar", "measured on m6g.large, not on m5.large"),
        (None, "m6g.large", "similar", "measured on machines of a type that is not known, not on m6g.large"),
    ],
)
def test_a_workload_stays_measured_on_the_machine_type_that_it_ran_on(
    measured_on, asked, basis, note, workflow, seen, tmp_path, capsys
):
    trained = ["--node-type", measured_on] if measured_on else []
    model = str(tmp_path / "model.joblib")
    assert main(["train", "--train", f"{workflow}/train_rows.parquet", "--out", model, *trained]) == 0
    given = ["--encoder", f"{workflow}/encoder.joblib", "--model", model, "-f", str(seen), "--format", "json"]
    capsys.readouterr()
    assert main(["predict", *given]) == 0
    plain = json.loads(capsys.readouterr().out)["predictions"][0]
    assert main(["predict", *given, "--node-type", asked]) == 0
    known, stranger = json.loads(capsys.readouterr().out)["predictions"]
    assert known["basis"] == basis
    assert (known["pred_avg_power_w"] == plain["pred_avg_power_w"]) == (basis == "seen")
    assert [line for line in known["notes"] if "measured on" in line] == (
        [f"{note}: the watts of another machine type differ"] if note else []
    )
    assert not stranger["notes"]
