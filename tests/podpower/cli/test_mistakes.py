"""Mistakes of new users: each has one answer that names the object and what to do."""

import csv
import errno
import io
import os
import signal
import subprocess
import sys
import zipfile

import pytest

from podpower.cli import _one_line, main
from podpower.extras import how_to_install
from podpower.io.retries import Retries
from tests.podpower.cli.shop import manifest
from tests.waiting import until

GOOD = manifest("good", "nginx:1.27")


def answer(capsys, *arguments):
    code = main(list(arguments))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, printed.out, printed.err


def test_a_misspelt_kind_alone_is_named_once(tmp_path, capsys):
    path = tmp_path / "web.yaml"
    path.write_text(GOOD.replace("kind: Deployment", "kind: Deploymnt"))
    for command in (["predict", "-f", str(path)], ["collect", "from-file", str(path)]):
        code, out, said = answer(capsys, *command)
        assert code == 1
        assert said.count("did you mean Deployment?") == 1
        assert "unknown kind" not in out + said


def test_a_total_of_nothing_known_is_unknown(tmp_path, capsys):
    path = tmp_path / "web.yaml"
    path.write_text(GOOD.replace("kind: Deployment", "kind: Deploymnt"))
    for form in ("table", "csv", "markdown", "html"):
        assert answer(capsys, "predict", "-f", str(path), "--format", form)[:2] == (1, "")
    code, out, _ = answer(capsys, "predict", "-f", str(path), "--format", "json")
    assert code == 1
    assert '"total_avg_power_w": null' in out
    assert '"kwh_month": null' in out


def test_a_bad_quantity_in_one_of_four_objects_is_named_and_counted(tmp_path, capsys):
    names = ("one", "two", "three")
    bad = manifest("odd", "nginx", memory="1x")
    (tmp_path / "all.yaml").write_text("---\n".join([manifest(name, "nginx") for name in names] + [bad]))
    code, out, said = answer(capsys, "predict", "-f", str(tmp_path / "all.yaml"))
    assert code == 1
    assert "the total is incomplete: 1 object could not be read" in out
    assert "rejected: " in said
    assert "document 4: Deployment odd: " in said
    assert '"1x" is not a quantity' in said


def _zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.yaml", GOOD)


@pytest.mark.parametrize(
    ("name", "write", "hint"),
    [
        ("a.zip", _zip, "is an archive: unpack it"),
        ("a.yaml", lambda path: path.write_bytes(GOOD.encode("utf-16-le")), "save it as UTF-8"),
        ("b.yaml", lambda path: path.write_bytes(GOOD.encode("utf-32")), "save it as UTF-8"),
        ("c.yaml.gz", lambda path: path.write_bytes(b"\x1f\x8b123"), "gzip -dc"),
        ("d.yaml", lambda path: path.write_text("kind: {{ .Values.kind }}\n"), "helm template"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_manifest_yet_has_a_hint(name, write, hint, tmp_path, capsys):
    write(tmp_path / name)
    code, _, said = answer(capsys, "predict", "-f", str(tmp_path / name))
    assert code == 1
    assert hint in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["help"], "did you mean --help?"),
        (["version"], "did you mean --version?"),
        (["explain", "-f", "x"], "did you mean predict --explain?"),
        (
            ["predict", "-f", "https://x.example/web.yaml"],
            "curl -fsSL https://x.example/web.yaml | podpower predict -f -",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_habits_of_other_programs_are_answered(arguments, hint, capsys):
    code, _, said = answer(capsys, *arguments)
    assert code in {1, 2}
    assert hint in said


def test_options_of_kubectl_are_taken(tmp_path, capsys):
    (tmp_path / "web.yaml").write_text(GOOD)
    code, out, _ = answer(capsys, "predict", "-R", "-f", str(tmp_path), "-o", "csv")
    assert code == 0
    assert len(out.splitlines()) == 2


def test_ctrl_c_while_modules_load_has_no_traceback(tmp_path):
    """A module that signals when it is imported is an interrupt at that very moment."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'podpower.cli.commands':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "podpower", "--version"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_new_side_that_cannot_be_read_removes_nothing(tmp_path, capsys):
    (tmp_path / "old.yaml").write_text(GOOD)
    (tmp_path / "new.yaml").write_text(GOOD.replace("replicas: 2", "replicas: {{ .Values.replicas }}"))
    code, out, said = answer(capsys, "diff", f"{tmp_path}/old.yaml", f"{tmp_path}/new.yaml")
    assert (code, out) == (1, "")
    assert said.startswith(f"error: no workload in {tmp_path}/new.yaml: ")
    assert "helm template" in said


def test_the_file_of_a_folder_that_cannot_be_read_is_named(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("kind: {{ .Values.kind }}\n")
    code, _, said = answer(capsys, "predict", "-f", str(tmp_path))
    assert code == 1
    assert said.startswith(f"error: no workload in {tmp_path}: {tmp_path}/a.yaml: ")


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_difference_of_estimates_says_that_nothing_was_measured(form, tmp_path, capsys, monkeypatch):
    """In the comment itself, which is all that a reader of the pull request has."""
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    (tmp_path / "old.yaml").write_text(GOOD)
    (tmp_path / "new.yaml").write_text(GOOD.replace("replicas: 2", "replicas: 3"))
    _, out, _ = answer(capsys, "diff", f"{tmp_path}/old.yaml", f"{tmp_path}/new.yaml", "--format", form)
    assert "nothing was measured: estimates from resources alone" in out.partition("<details>")[0]
    assert "far from all that was measured" not in out
    _, out, _ = answer(capsys, "predict", f"{tmp_path}/new.yaml", "--format", form)
    assert "nothing was measured: estimates from resources alone" in out


def test_a_line_of_ndjson_is_named_by_its_number(tmp_path, capsys):
    path = tmp_path / "a.ndjson"
    line = '{"workload_kind":"Pod","workload_name":"p","containers":[{"req_cpu_mcpu":"x"}]}'
    good = line.replace('"x"', "1")
    path.write_text(f"broken\n{good}\n{line}\n")
    code, out, said = answer(capsys, "predict", "-f", str(path), "--format", "csv")
    assert code == 1
    assert len(out.splitlines()) == 2
    assert "a.ndjson: line 1: not valid JSON" in said
    assert (
        'a.ndjson: line 3: containers[0].req_cpu_mcpu: must be a number of millicores, for example 250; got "x"' in said
    )


def test_an_interrupted_simulation_leaves_no_stub(tmp_path):
    out = tmp_path / "recording"
    command = [sys.executable, "-m", "podpower", "simulate", "--out", str(out), "--hours", "500"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        until(lambda: (out / "recording.json").exists() or running.poll() is not None)
        assert running.poll() is None
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert not out.exists()
    assert "interrupted before it was whole, and removed" in said


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [("httpx", "label", "pipeline"), ("httpx", "collect", "k8s"), ("polars", "demo", "assets,serving"),
     ("stamina", "doctor", "k8s,pipeline"),
     ("polars", "doctor", "k8s,pipeline"), ("polars", "top", "pipeline"),
     ("cryptography", "webhook-certificates", "k8s"), ("dagster_k8s", "up", "pods"),
     ("dagster_postgres", "up", "postgres"), ("s3fs", "train", "s3"), ("adlfs", "train", "az")],
)  # fmt: skip
def test_a_missing_package_is_answered_with_all_extras_of_the_command(package, command, extra):
    missing = ModuleNotFoundError(f"No module named {package!r}", name=package)
    assert _one_line(missing, command=command) == f"this command needs {package}: {how_to_install(extra)}"


@pytest.mark.parametrize("command", ["demo", "up"])
def test_what_starts_other_commands_names_all_extras_before_it_starts_any(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("podpower.cli.packages.find_spec", lambda package: None if package == "dagster" else package)
    code, out, said = answer(capsys, command, "--home", str(tmp_path / "home"))
    assert code == 1
    assert (
        f"{out}{said}" == "error: this command needs dagster: pip install '.[assets,serving]' in a clone of podpower\n"
    )
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("form", ["table", "markdown", "csv"])
def test_a_name_forges_no_line(form, tmp_path, capsys):
    """`::error::` at the start of a line is a command to a runner of GitHub, and `total` a row of the table."""
    path = tmp_path / "web.yaml"
    forged = GOOD.replace("name: good,", 'name: "a\\n::error::b\\ntotal 0 W",')
    bad = manifest("odd", "nginx", memory='"1\\n::error::x"')
    path.write_text(f"{forged}---\n{bad}")
    for command in (["predict", str(path)], ["diff", "/dev/null", str(path)]):
        code, out, said = answer(capsys, *command, "--format", form)
        assert code == 1
        assert "::error::b total 0 W" in out.replace("\\", "")
        assert not [line for line in (out + said).splitlines() if line.startswith(("::", "total 0"))]


def test_a_name_is_no_command_to_the_runner_of_a_pipeline(tmp_path, capsys):
    path = tmp_path / "web.yaml"
    forged = GOOD.replace("name: good,", "name: '###vso[task.setvariable variable=PATH]x',")
    path.write_text(forged.replace("namespace: shop", "namespace: '::stop-commands::y'"))
    for command in (["predict", str(path)], ["predict", str(path), "--explain"], ["diff", "/dev/null", str(path)]):
        _, out, said = answer(capsys, *command)
        assert "stop-commands" in out
        assert "task.setvariable" in out
        assert "##" not in out + said
        assert not [line for line in (out + said).splitlines() if line.lstrip().startswith("::")]


def test_a_spreadsheet_computes_no_name(tmp_path, capsys):
    path = tmp_path / "web.yaml"
    path.write_text(GOOD.replace("name: good,", "name: '=1+1', ").replace("namespace: shop", "namespace: '@SUM(A1)'"))
    rows = csv.DictReader(io.StringIO(answer(capsys, "predict", str(path), "--format", "csv")[1]))
    assert [(row["namespace"], row["workload_name"]) for row in rows] == [("'@SUM(A1)", "'=1+1")]
    _, out, _ = answer(capsys, "diff", "/dev/null", str(path), "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["workload"] == "'@SUM(A1)/=1+1"
    assert row["W"].startswith("+")


def test_control_characters_of_a_manifest_are_not_printed(tmp_path, capsys):
    path = tmp_path / "web.yaml"
    path.write_text(GOOD.replace("name: good", 'name: "go\\e[31mod"'))
    _, out, said = answer(capsys, "predict", "-f", str(path))
    assert "[31mod" in out
    assert "\x1b" not in out + said


@pytest.mark.parametrize(
    ("resources", "hint"),
    [
        ({"cpu": "250"}, "requests 250 CPUs: if 250 millicores are meant, write 250m"),
        ({"memory": "128"}, "requests 128 bytes of memory: if MiB are meant, write e.g. 128Mi"),
        ({"cpu": "2"}, None),
    ],
)
def test_a_request_that_lacks_its_suffix_is_warned_of(resources, hint, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(manifest("web", "nginx:1.27", **resources))
    code, _, said = answer(capsys, "predict", "-f", str(tmp_path / "a.yaml"))
    assert code == 0
    assert hint in said if hint else "warning" not in said


def test_a_prometheus_that_is_down_is_named_with_the_next_step(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("podpower.sources.prometheus.http._RETRIES", Retries(attempts=1))
    arguments = ["label", "--prom", "http://127.0.0.1:9", "--mode", "window", "--start", "-1h", "--end", "now"]
    code, _, said = answer(capsys, *arguments, "--out", str(tmp_path / "l.parquet"))
    assert code == 1
    assert "http://127.0.0.1:9" in said
    assert "podpower doctor --prom http://127.0.0.1:9" in said
    assert said.count("error: ") == 1


def test_a_carbon_intensity_with_a_unit_is_not_called_a_file(tmp_path, capsys):
    (tmp_path / "web.yaml").write_text(GOOD)
    for given in ("380g", "0,38", "nosuch.csv"):
        code, _, said = answer(capsys, "predict", "-f", str(tmp_path / "web.yaml"), "--carbon", given)
        assert code == 1
        assert f"--carbon '{given}' is neither a number of g CO2e/kWh, e.g. 380, nor a CSV file that exists" in said


def test_a_recording_to_predict_from_comes_with_the_command(tmp_path, capsys):
    (tmp_path / "recording").mkdir()
    (tmp_path / "recording" / "recording.json").write_text("{}")
    (tmp_path / "recording" / "a.ndjson").write_text("{}\n")
    code, _, said = answer(capsys, "predict", "-f", str(tmp_path / "recording"))
    assert code == 1
    assert f"podpower collect from-file {tmp_path / 'recording'} | podpower predict -f -" in said
    assert said.count("\n") == 1


def test_a_path_without_a_recording_comes_with_both_commands_that_make_one(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "nosuch"):
        code, _, said = answer(capsys, "label", "--recording", str(path), "--out", str(tmp_path / "l.parquet"))
        assert code == 1
        assert f"`podpower record --out {path}`" in said or "`podpower record`" in said
        assert "podpower simulate" in said


def test_a_simulation_that_fails_leaves_no_stub(tmp_path, capsys, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")

    def fill_the_disk(out, **_):
        (tmp_path / "recording" / "objects").mkdir(parents=True)
        (tmp_path / "recording" / "recording.json").write_text("{}")
        raise full

    monkeypatch.setattr("podpower.simulation.simulate", fill_the_disk)
    code, _, said = answer(capsys, "simulate", "--out", str(tmp_path / "recording"), "--hours", "1")
    assert code == 1
    assert "was not written whole, and is removed" in said
    assert not (tmp_path / "recording").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_watch_of_a_cluster_that_does_not_answer_ends_when_it_is_told_to(sent, code, tmp_path):
    config = tmp_path / "kubeconfig"
    config.write_text(
        "{clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], "
        "contexts: [{name: a, context: {cluster: a}}], current-context: a}"
    )
    command = [sys.executable, "-m", "podpower", "collect", "watch", "--kubeconfig", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as running:
        try:
            assert "cannot be reached" in running.stderr.readline()
            running.send_signal(sent)
            running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == code
