"""What is wrong is told in one line, the good part is kept, and nothing is left half-written."""

import os
import pickle
import resource
import subprocess
import sys

import joblib
import numpy as np
import polars as pl
import pytest

from podpower.cli import main
from tests.podpower.cli.shop import labels, manifest

ALIAS_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefghi", "bcdefghij", strict=True)
)
GOOD = manifest("good", "nginx:1.27")


def failed(capsys, *told):
    """The one error line, which must hold every text of `told`."""
    printed = capsys.readouterr().err
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, printed
    assert "Traceback" not in printed
    assert "unexpected" not in errors[0]
    for text in told:
        assert text in errors[0]
    return errors[0]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("kind: Deployment\n  metadata: [\n", "not valid YAML"),
        (ALIAS_BOMB, "aliases"),
        ("just a text\n", "not a Kubernetes object"),
        (manifest("none", "nginx").partition("      containers:")[0] + "      containers: []\n", "containers"),
        (manifest("odd", "nginx", memory="1.5.2Gi"), "1.5.2Gi"),
    ],
    ids=["broken YAML", "alias bomb", "no object", "no containers", "impossible quantity"],
)
def test_a_bad_document_is_reported_and_the_good_ones_are_collected(bad, told, tmp_path, capfdbinary):
    path = tmp_path / "mixed.yaml"
    path.write_text(f"{GOOD}---\n{bad}\n---\n{manifest('also', 'redis:7')}")
    assert main(["collect", "from-file", str(path)]) == 1
    printed = capfdbinary.readouterr()
    assert [line.count(b'"workload_name":"') for line in printed.out.splitlines()] == [1, 1]
    reported = printed.err.decode()
    assert "rejected: " in reported
    assert ("line " if "not valid YAML" in told else "document 2") in reported
    assert told in reported


def test_a_kind_without_pods_is_passed_over(tmp_path, capfdbinary):
    path = tmp_path / "service.yaml"
    path.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: []}\n---\n" + GOOD)
    assert main(["collect", "from-file", str(path)]) == 0
    assert "skipped 1 object that runs no pods: Service/s" in capfdbinary.readouterr().err.decode()


@pytest.mark.parametrize("text", ["", "\n---\n", "# only a comment\n"], ids=["empty", "separators", "comment"])
def test_an_empty_file_holds_no_workload(text, tmp_path, capsys):
    path = tmp_path / "empty.yaml"
    path.write_text(text)
    assert main(["collect", "from-file", str(path)]) == 1
    failed(capsys, "empty.yaml")
    assert main(["encode", "fit", "--input", str(path), "--out", str(tmp_path / "e.joblib")]) == 1
    failed(capsys, "empty.yaml")
    assert not (tmp_path / "e.joblib").exists()


def test_a_bad_line_of_ndjson_is_reported_and_the_rest_is_predicted(workflow, tmp_path, capfd):
    path = tmp_path / "in.ndjson"
    good = '{"workload_kind":"Pod","workload_name":"p","namespace":"n","containers":[{"name":"c","image":"nginx"}]}'
    path.write_text(f'{good}\n{{"workload_kind": 7}}\nnonsense\n{good}\n')
    arguments = ["--encoder", f"{workflow}/encoder.joblib", "--model", f"{workflow}/knn_energy.joblib"]
    assert main(["predict", *arguments, "--input", str(path), "--format", "csv"]) == 1
    printed = capfd.readouterr()
    assert len(printed.out.splitlines()) == 3  # a head and two predictions
    assert printed.err.count("rejected: ") == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop("energy_step_j", "avg_power_w"), "energy_step_j"),
        (lambda table: table.drop("ts"), "ts"),
        (lambda table: table.drop("pod"), "pod"),
        (lambda table: table.with_columns(energy_step_j=pl.lit("a lot")), "energy_step_j"),
        (lambda table: table.with_columns(ts=pl.lit("noon")), "ts"),
    ],
    ids=["no energy", "no ts", "no pod", "text for energy", "text for ts"],
)
def test_wrong_labels_name_the_column(change, told, workflow, tmp_path, capsys):
    change(pl.read_parquet(workflow / "labels.parquet")).write_parquet(tmp_path / "labels.parquet")
    out = tmp_path / "rows.parquet"
    arguments = ["join", "--features", f"{workflow}/features.parquet", "--labels", f"{tmp_path}/labels.parquet"]
    assert main([*arguments, "--out", str(out)]) == 1
    failed(capsys, told)
    assert not out.exists()


@pytest.mark.parametrize("command", ["train --out {out}/m.joblib --train", "evaluate --train"])
@pytest.mark.parametrize("wrong", ["features.parquet", "labels.parquet"])
def test_a_table_that_has_no_training_rows_is_named(command, wrong, workflow, tmp_path, capsys):
    """Who trains with the file of the step before sees which one it was."""
    assert main([*command.replace("{out}", str(tmp_path)).split(), f"{workflow}/{wrong}"]) == 1
    failed(capsys, f"error: {workflow}/{wrong}: training rows ")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("image_key", [1.5], "column image_key must hold texts"),
        ("namespace", [], "column namespace must hold texts"),
        ("workload_name", b"\xff", "column workload_name must hold texts"),
        ("spec_hash_version", float("inf"), "column spec_hash_version must hold whole numbers"),
        ("feature_blocks", ["x"], "column feature_blocks must hold lists of whole numbers"),
        ("features", None, "lack the column features"),
        ("_spec_hash", None, "no row with a known label"),
    ],
)
def test_a_column_of_training_rows_of_another_type_is_named(column, value, told, workflow, tmp_path, capsys):
    rows = pl.read_parquet(workflow / "train_rows.parquet")
    changed = (
        rows.drop(column) if (column, value) == ("features", None) else rows.with_columns(pl.lit(value).alias(column))
    )
    changed.write_parquet(tmp_path / "rows.parquet")
    assert main(["train", "--train", f"{tmp_path}/rows.parquet", "--out", f"{tmp_path}/m.joblib"]) == 1
    failed(capsys, f"{tmp_path}/rows.parquet: ", told)


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [("features", "namespace", b"\xff"), ("features", "replicas", [1]), ("labels", "cluster", [1])],
)
def test_a_column_to_join_of_another_type_is_named(name, column, value, workflow, tmp_path, capsys):
    paths = {one: workflow / f"{one}.parquet" for one in ("features", "labels")}
    changed = pl.read_parquet(paths[name]).with_columns(pl.lit(value).alias(column))
    paths[name] = tmp_path / "changed.parquet"
    changed.write_parquet(paths[name])
    files = ["--features", str(paths["features"]), "--labels", str(paths["labels"])]
    assert main(["join", *files, "--out", f"{tmp_path}/rows.parquet"]) == 1
    failed(capsys, f"{tmp_path}/changed.parquet", column)


@pytest.mark.parametrize("option", ["--features", "--labels"])
def test_a_file_that_is_no_parquet_is_named(option, workflow, tmp_path, capsys):
    (tmp_path / "text.parquet").write_text("not at all")
    arguments = {"--features": f"{workflow}/features.parquet", "--labels": f"{workflow}/labels.parquet"}
    arguments[option] = f"{tmp_path}/text.parquet"
    assert main(["join", *(w for pair in arguments.items() for w in pair), "--out", f"{tmp_path}/o"]) == 1
    failed(capsys, "text.parquet")


def test_features_of_another_encoder_are_refused(workflow, tmp_path, capsys):
    encoder = str(tmp_path / "other.joblib")
    assert main(["encode", "fit", "--input", f"{workflow}/shop.yaml", "--out", encoder, "--text", "none"]) == 0
    capsys.readouterr()
    arguments = ["predict", "--encoder", encoder, "--model", f"{workflow}/knn_energy.joblib"]
    assert main([*arguments, "--input", f"{workflow}/shop.yaml"]) == 1
    failed(capsys, "encoder")


def test_rows_of_two_encoders_are_not_trained_on(workflow, tmp_path, capsys):
    rows = pl.read_parquet(workflow / "train_rows.parquet")
    half = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("f" * 64)).otherwise(pl.col("encoder_fingerprint"))
    rows.with_columns(encoder_fingerprint=half).write_parquet(tmp_path / "rows.parquet")
    assert main(["train", "--train", f"{tmp_path}/rows.parquet", "--out", f"{tmp_path}/m.joblib"]) == 1
    failed(capsys, "encoder")
    assert not (tmp_path / "m.joblib").exists()


class _Crafted:
    """Runs a command when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def _truncated(workflow, path, _ran):
    path.write_bytes((workflow / "knn_energy.joblib").read_bytes()[:-100])


def _flipped(workflow, path, _ran):
    data = bytearray((workflow / "knn_energy.joblib").read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _foreign(_workflow, path, _ran):
    joblib.dump({"model": np.zeros(3)}, path)


def _pickled(_workflow, path, ran):
    path.write_bytes(pickle.dumps(_Crafted(ran)))


def _joblib_dumped(_workflow, path, ran):
    joblib.dump(_Crafted(ran), path)


def _encoder(workflow, path, _ran):
    path.write_bytes((workflow / "encoder.joblib").read_bytes())


@pytest.mark.parametrize("make", [_truncated, _flipped, _foreign, _pickled, _joblib_dumped, _encoder])
def test_an_artifact_that_cannot_be_trusted_is_refused_and_never_runs(make, workflow, tmp_path, capsys):
    path, ran = tmp_path / "model.joblib", tmp_path / "ran"
    make(workflow, path, ran)
    arguments = ["--encoder", f"{workflow}/encoder.joblib", "--model", str(path), "--input", f"{workflow}/shop.yaml"]
    assert main(["predict", *arguments]) == 1
    failed(capsys)
    assert not ran.exists()


def test_all_zero_labels_are_not_trained_on(workflow, tmp_path, capsys):
    rows = pl.read_parquet(workflow / "train_rows.parquet").with_columns(energy_step_j=0.0, avg_power_w=0.0)
    rows.write_parquet(tmp_path / "rows.parquet")
    assert main(["train", "--train", f"{tmp_path}/rows.parquet", "--out", f"{tmp_path}/m.joblib"]) == 1
    failed(capsys, "zero")
    assert not (tmp_path / "m.joblib").exists()


def test_one_workload_is_trained_on_with_a_warning(workflow, tmp_path, capsys):
    rows = pl.read_parquet(workflow / "train_rows.parquet").filter(pl.col("workload_name") == "shop-nginx")
    rows.write_parquet(tmp_path / "rows.parquet")
    assert main(["train", "--train", f"{tmp_path}/rows.parquet", "--out", f"{tmp_path}/m.joblib"]) == 0
    assert "note: trained on one workload only" in capsys.readouterr().err
    assert (tmp_path / "m.joblib").exists()


def test_rows_that_are_left_out_are_counted_by_reason(workflow, tmp_path, capsys):
    rows = pl.read_parquet(workflow / "train_rows.parquet").drop("avg_power_w").with_row_index()
    number = pl.col("index")
    spoilt = pl.when(number < 2).then(6e7).when(number < 5).then(-1.0).otherwise("energy_step_j")
    rows.with_columns(energy_step_j=spoilt).write_parquet(tmp_path / "rows.parquet")
    for command in (["train", "--out", f"{tmp_path}/m.joblib"], ["evaluate"]):
        assert main([*command, "--train", f"{tmp_path}/rows.parquet"]) == 0
        said = capsys.readouterr().err
        assert "5 rows were left out: " in said
        assert "3 because label is negative" in said
        assert "2 because label is over 20 kW a pod" in said
        if command[0] == "train":
            assert f"trained on {len(rows) - 5} of {len(rows)} rows: " in said


def test_vectors_that_no_encoder_makes_are_refused(workflow, tmp_path, capsys):
    rows = pl.read_parquet(workflow / "train_rows.parquet")
    rows.with_columns(features=pl.col("features").list.eval(pl.element() * 1e30)).write_parquet(
        tmp_path / "rows.parquet"
    )
    assert main(["train", "--train", f"{tmp_path}/rows.parquet", "--out", f"{tmp_path}/m.joblib"]) == 1
    failed(capsys, "encode them again")


def test_rows_that_name_no_encoder_make_a_model_with_a_note(workflow, tmp_path, capsys):
    rows = pl.read_parquet(workflow / "train_rows.parquet").drop("encoder_fingerprint")
    rows.write_parquet(tmp_path / "rows.parquet")
    assert main(["train", "--train", f"{tmp_path}/rows.parquet", "--out", f"{tmp_path}/m.joblib"]) == 0
    assert "do not name their encoder" in capsys.readouterr().err
    arguments = ["--encoder", f"{workflow}/encoder.joblib", "--model", f"{tmp_path}/m.joblib"]
    assert main(["predict", *arguments, "--input", f"{workflow}/shop.yaml"]) == 1
    failed(capsys, "do not name their encoder", "podpower encode transform")


def test_one_label_cannot_be_evaluated_and_leaves_no_report(workflow, tmp_path, capsys):
    pl.read_parquet(workflow / "train_rows.parquet").drop_nulls("energy_step_j")[:1].write_parquet(
        tmp_path / "rows.parquet"
    )
    assert main(["evaluate", "--train", f"{tmp_path}/rows.parquet", "--html", f"{tmp_path}/report.html"]) == 1
    failed(capsys, "nothing could be evaluated", "one workload only")
    assert not (tmp_path / "report.html").exists()


def test_a_report_does_not_take_the_place_of_its_rows(workflow, tmp_path, capsys):
    rows = (workflow / "train_rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(rows)
    assert main(["evaluate", "--train", f"{tmp_path}/rows.parquet", "--html", f"{tmp_path}/rows.parquet"]) == 2
    failed(capsys, "also the input")
    assert (tmp_path / "rows.parquet").read_bytes() == rows


def test_labels_that_join_nothing_are_an_error(workflow, tmp_path, capsys):
    labels(["stranger"]).write_parquet(tmp_path / "labels.parquet")
    arguments = ["join", "--features", f"{workflow}/features.parquet", "--labels", f"{tmp_path}/labels.parquet"]
    assert main([*arguments, "--out", f"{tmp_path}/rows.parquet"]) == 1
    failed(capsys, "stranger")
    assert not (tmp_path / "rows.parquet").exists()


def _limited(arguments, limit_bytes):
    """Run a command that cannot write files larger than the limit, as on a disk that is full."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [sys.executable, "-m", "podpower", *arguments],
        preexec_fn=limit, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        "encode fit --input {}/shop.yaml --out {out}/result",
        "encode transform --input {}/shop.yaml --encoder {}/encoder.joblib --out {out}/result",
        "join --features {}/features.parquet --labels {}/labels.parquet --out {out}/result",
        "train --train {}/train_rows.parquet --out {out}/result",
        "evaluate --train {}/train_rows.parquet --html {out}/result",
    ],
    ids=lambda text: text.split(" --")[0],
)
def test_a_full_disk_keeps_what_was_there(arguments, workflow, tmp_path):
    (tmp_path / "result").write_text("as it was")
    done = _limited(arguments.replace("{}", str(workflow)).replace("{out}", str(tmp_path)).split(), 1000)
    assert done.returncode == 1
    assert done.stderr.startswith("error: "), done.stderr
    assert "room" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert (tmp_path / "result").read_text() == "as it was"


def test_a_folder_that_cannot_be_written_is_named(workflow, tmp_path, capsys):
    """A file in place of the folder: it stops root too, whom permissions do not."""
    (tmp_path / "file").write_text("")
    out = f"{tmp_path}/file/encoder.joblib"
    assert main(["encode", "fit", "--input", f"{workflow}/shop.yaml", "--out", out]) == 1
    failed(capsys, str(tmp_path / "file"))


@pytest.mark.parametrize("out", ["recording.json", "labels.parquet", "../recording/recording.json"])
def test_labels_do_not_take_the_place_of_a_part_of_their_recording(out, tmp_path, capsys):
    recording = tmp_path / "recording"
    recording.mkdir()
    (recording / "recording.json").write_text("as it was")
    assert main(["label", "--recording", str(recording), "--out", f"{recording}/{out}"]) == 2
    failed(capsys, "is in the recording")
    assert (recording / "recording.json").read_text() == "as it was"
