"""Input as people pipe it, on the command line."""

import bz2
import gzip
import json
import os
import shutil
import subprocess
import sys

import pytest

from podpower.cli import main
from tests.podpower.cli.shop import manifest

WEB = manifest("web", "nginx:1.27")
SERVICES = "".join(f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{i}}}\n" for i in range(8))
CUSTOM = "---\napiVersion: x.io/v1\nkind: Thing\nmetadata: {name: t}\nspec: {size: 3}\n"


@pytest.fixture
def predict(tmp_path, capsys):
    """Writes an input and predicts it; gives the exit code, standard output and standard error."""

    def run(data, *options, name="input.yaml"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        code = main(["predict", "-f", str(path), *options])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_json_is_shaped_as_the_answer_of_the_batch_endpoint(predict):
    code, out, _ = predict(WEB + SERVICES + "---\nkind: Deploymnet\n", "--format", "json")
    answer = json.loads(out)
    assert code == 1
    assert set(answer) == {"predictions", "skipped", "errors", "total", "inputs"}
    assert [p["workload_name"] for p in answer["predictions"]] == ["web"]
    assert answer["skipped"][0] | {"namespace": "", "code": ""} == {
        "kind": "Service", "name": "s0", "reason": "runs no pods", "namespace": "", "code": "",
    }  # fmt: skip
    assert "did you mean Deployment?" in answer["errors"][0]["detail"]
    assert answer["total"]["errors"] == 1


def test_the_table_names_what_was_skipped_and_bounds_the_list(predict):
    code, out, _ = predict(WEB + SERVICES)
    assert code == 0
    expected = (
        "skipped 8 objects that run no pods: Service/s0, Service/s1, Service/s2, Service/s3, Service/s4 and 3 more"
    )
    assert expected in out.splitlines()


def test_a_total_with_unknown_parts_is_called_incomplete(predict):
    bad = manifest("odd", "nginx:1", cpu="1.5.2")
    code, out, err = predict(WEB + "---\n" + bad + CUSTOM)
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("the total is incomplete: ")]
    assert "1 object could not be read" in line
    assert "1 object of unknown kinds may run pods" in line
    assert "Deployment odd: " in err
    assert "skipped 1 object of an unknown kind, whose pods are in no sum: Thing/t" in out
    assert "incomplete" not in predict(WEB)[1]


def test_lenient_predicts_objects_with_misspelt_fields(predict):
    wrong = WEB.replace("requests:", "request:")
    code, _, err = predict(wrong)
    assert code == 1
    assert "did you mean requests?" in err
    assert predict(wrong, "--lenient")[0] == 0


def test_nodes_are_the_pods_of_a_daemon_set(predict):
    daemon = WEB.replace("Deployment", "DaemonSet").replace("  replicas: 2\n", "")
    assert "one pod: the number of nodes is not known" in predict(daemon)[1]
    _, out, _ = predict(daemon, "--nodes", "12", "--format", "json")
    assert json.loads(out)["predictions"][0]["replicas"] == 12
    with_nodes = predict(daemon, "--nodes", "12")[1]
    assert "12 pods, from the given number of nodes" in with_nodes


def test_finished_objects_alone_are_no_error(predict):
    done = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\nstatus: {phase: Failed}\n"
    code, out, err = predict(done)
    assert (code, "error" in err) == (0, False)
    assert "skipped 1 object that has finished: Pod/p" in out
    code, out, _ = predict(done, "--format", "json")
    assert json.loads(out)["total"]["total_avg_power_w"] == 0


def test_an_input_without_workloads_is_an_error_that_names_what_it_holds(predict):
    code, _, err = predict(SERVICES)
    assert code == 1
    assert "error: no workload in " in err
    assert "Service/s0: runs no pods" in err


def test_several_inputs_and_folders_are_one(tmp_path, capsys):
    reference = "ownerReferences: [{kind: Deployment, name: web, controller: true}]"
    owned = WEB.replace("kind: Deployment", "kind: ReplicaSet").replace(
        "metadata: {name: web, namespace: shop}", f"metadata: {{name: web-5d4c, namespace: shop, {reference}}}"
    )
    assert owned.count("web-5d4c") == 1
    (tmp_path / "k8s").mkdir()
    (tmp_path / "k8s" / "rs.yml").write_text(owned)
    (tmp_path / "web.yaml").write_text(WEB)
    line = {"workload_kind": "Pod", "workload_name": "p", "containers": [{}], "cluster": "east"}
    (tmp_path / "in.ndjson").write_text(json.dumps(line))
    paths = [str(tmp_path / name) for name in ("k8s", "web.yaml", "in.ndjson")]
    assert main(["predict", "-f", *paths, "--cluster", "west", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [(p["workload_name"], p["cluster"]) for p in found] == [("web", "west"), ("p", "east")]


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("Chart.yaml", "helm template"),
        ("kustomization.yaml", "kubectl kustomize"),
        ("Kustomization", "kubectl kustomize"),
    ],
)
def test_a_folder_that_has_to_be_rendered_names_the_command(name, tool, tmp_path, capsys):
    (tmp_path / name).write_text("name: x\n")
    (tmp_path / "patch.yaml").write_text(WEB)
    for command in (
        ["predict", "-f", str(tmp_path)],
        ["predict", "-f", f"{tmp_path}/{name}"],
        ["diff", "/dev/null", tmp_path],
    ):
        assert main(list(map(str, command))) == 1
        printed = capsys.readouterr()
        assert f"render it with `{tool} {tmp_path}`" in printed.err
        assert (printed.out, printed.err.count("\n")) == ("", 1)


def _without_rights(*arguments):
    """Run a command as a user whom permissions stop: root without the capability to ignore them."""
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    command = [*drop, sys.executable, "-m", "podpower", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root, and there is no setpriv")
@pytest.mark.parametrize("closed", ["below", "below/web.yaml"])
def test_what_cannot_be_opened_in_a_folder_is_named_and_the_rest_is_predicted(closed, tmp_path):
    """A folder that is passed over without a word would make the total too small, with exit code 0."""
    (tmp_path / "below").mkdir()
    (tmp_path / "db.yaml").write_text(manifest("db", "postgres:16"))
    (tmp_path / "below" / "web.yaml").write_text(WEB)
    (tmp_path / closed).chmod(0)
    try:
        done = _without_rights("predict", "-f", tmp_path)
        named = _without_rights("predict", "-f", tmp_path / closed)
    finally:
        (tmp_path / closed).chmod(0o755)
    assert done.returncode == named.returncode == 1
    assert f"rejected: {tmp_path}/{closed}: not read: Permission denied" in done.stderr
    assert "the total is incomplete: 1 object could not be read" in done.stdout
    assert "shop/db" in done.stdout
    assert named.stderr == f"error: {tmp_path}/{closed}: Permission denied\n"


def test_a_pipe_in_a_folder_is_named_and_not_waited_for(tmp_path, capsys):
    (tmp_path / "web.yaml").write_text(WEB)
    (tmp_path / ".#web.yaml").symlink_to("somebody@host.1234")  # Emacs, while the file is edited
    assert main(["predict", "-f", str(tmp_path)]) == 0
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "gone.yaml").symlink_to("nowhere.yaml")
    capsys.readouterr()
    assert main(["predict", "-f", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "shop/web" in printed.out
    assert f"rejected: {tmp_path}/pipe.yaml: not read: it is a pipe" in printed.err
    assert f"rejected: {tmp_path}/gone.yaml: not read: No such file or directory" in printed.err


@pytest.mark.parametrize("command", [["predict", "-f", ""], ["diff", "/dev/null", ""], ["collect", "from-file", ""]])
def test_an_empty_path_is_named(command, capsys):
    assert main(command) == 1
    assert "the name of a file is empty: is a variable not set?" in capsys.readouterr().err


def test_an_empty_file_in_a_folder_is_left_out_and_one_that_is_no_text_is_named(tmp_path, capsys):
    (tmp_path / "empty.yaml").write_text("\n")
    assert main(["predict", "-f", str(tmp_path)]) == 1
    assert f"error: no workload in {tmp_path}: expected manifests" in capsys.readouterr().err
    (tmp_path / "web.yaml").write_text(WEB)
    assert main(["predict", "-f", str(tmp_path)]) == 0
    (tmp_path / "z.yaml").write_bytes(gzip.compress(WEB.encode()))
    capsys.readouterr()
    assert main(["predict", "-f", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "shop/web" in printed.out
    assert f"rejected: {tmp_path}/z.yaml: not read: compressed: unpack it first" in printed.err


def test_an_unrendered_template_is_refused_with_the_command_that_renders_it(predict):
    code, _, err = predict(WEB.replace("replicas: 2", "replicas: {{ .Values.replicas }}"))
    assert code == 1
    assert "helm template" in err


def test_utf_16_is_read(predict):
    assert predict(WEB.encode("utf-16"))[0] == 0


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_compressed_file_is_named_with_the_command_that_unpacks_it(pack, predict):
    code, _, err = predict(pack(WEB.encode()))
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "-dc FILE | podpower predict -f -" in err


def test_collect_takes_ndjson_as_it_is(tmp_path, capfdbinary):
    (tmp_path / "web.yaml").write_text(WEB)
    assert main(["collect", "from-file", str(tmp_path / "web.yaml")]) == 0
    once = capfdbinary.readouterr().out
    (tmp_path / "in.ndjson").write_bytes(once)
    assert main(["collect", "from-file", str(tmp_path / "in.ndjson")]) == 0
    assert capfdbinary.readouterr().out == once


def test_collect_keeps_finished_objects_for_training(tmp_path, capfdbinary):
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {containers: [{name: c}]}}}\n"
    (tmp_path / "job.yaml").write_text(f"{job}status: {{completionTime: '2026-01-01T00:00:00Z'}}\n")
    assert main(["collect", "from-file", str(tmp_path / "job.yaml")]) == 0
    assert json.loads(capfdbinary.readouterr().out)["state"] == "finished"


def _shell(command, **options):
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    python = f"{sys.executable} -m podpower"
    return subprocess.run(
        ["bash", "-c", command.replace("podpower", python)],
        capture_output=True, text=True, timeout=120, check=False, env=environment, **options,
    )  # fmt: skip


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_reader_that_has_enough_ends_it_quietly(form, tmp_path):
    (tmp_path / "web.yaml").write_text(WEB)
    done = _shell(f"podpower predict -f {tmp_path}/web.yaml --format {form} | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == "141\n"
    assert not [line for line in done.stderr.splitlines() if not line.startswith("note: ")]


def test_closed_standard_streams_are_no_defect(tmp_path):
    (tmp_path / "web.yaml").write_text(WEB)
    closed = _shell("podpower predict -f - <&-")
    assert (closed.returncode, closed.stderr.count("\n")) == (1, 1)
    assert "error: standard input is closed" in closed.stderr
    assert _shell(f"podpower predict -f {tmp_path}/web.yaml >&-").returncode == 0
    assert _shell(f"podpower predict -f {tmp_path}/web.yaml >/dev/null 2>&-").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "--bogus"], "no such option: --bogus (see `podpower predict --help`)"),
        (["predict", "-f", "x", "--bogus=1"], "no such option: --bogus (see `podpower predict --help`)"),
        (["predict", "--inptu", "x"], "no such option: --inptu; did you mean --input?"),
        (["collect", "from-file", "--wat", "x"], "no such option: --wat (see `podpower collect from-file --help`)"),
        (["predict"], "nothing to predict: name manifests or folders with -f"),
        (["predict", "-f", "x", "--nodes", "many"], "'many' is not a whole number"),
    ],
)
def test_a_bogus_option_is_named_first(arguments, message, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1
