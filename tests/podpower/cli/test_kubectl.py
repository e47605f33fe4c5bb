"""`kubectl podpower` by the real kubectl, and `podpower diff --live`, against an API server on a socket."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from podpower.cli import kubectl, main
from tests.clusters.fake import FakeCluster
from tests.clusters.objects import deployment, write_kubeconfig
from tests.podpower.cli.shop import manifest


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster with three workloads in two namespaces, whose kubeconfig the environment names."""
    monkeypatch.setenv("PODPOWER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with FakeCluster() as cluster:
        cluster.register("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
        cluster.put_many(
            [
                deployment("web", replicas=3),
                deployment("db", image="postgres:16"),
                deployment("cart", namespace="other"),
            ]
        )
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", cluster.url)))
        yield cluster


def plugin(capsys, *arguments):
    code = kubectl.main(list(map(str, arguments)))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, printed.out, printed.err


def names(out):
    return [one["workload_name"] for one in json.loads(out)["predictions"]]


def test_the_real_kubectl_finds_the_plugin(cluster, tmp_path):
    program = shutil.which("kubectl")
    if program is None:
        reason = "there is no kubectl"
        (pytest.fail if os.environ.get("PODPOWER_REQUIRE_SERVICES") == "1" else pytest.skip)(reason)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [program, "podpower", "predict", "deployment/web", "-n", "shop", "-o", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert names(done.stdout) == ["web"]
    assert json.loads(done.stdout)["predictions"][0]["replicas"] == 3


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["-n", "shop"], {"web", "db"}),
        (["-A"], {"web", "db", "cart"}),
        (["-n", "shop", "-l", "app=db"], {"db"}),
        (["deploy/web", "deployments/db", "-n", "shop"], {"web", "db"}),
        (["deployment", "web", "-n", "shop"], {"web"}),
        (["deployments", "-A"], {"web", "db", "cart"}),
    ],
)
def test_objects_are_named_as_in_kubectl(words, found, cluster, capsys):
    code, out, _ = plugin(capsys, "predict", *words, "-o", "json")
    assert code == 0
    assert set(names(out)) == found


def test_an_object_that_is_not_there_is_one_line(cluster, capsys):
    code, _, said = plugin(capsys, "predict", "deploy/nope", "-n", "shop")
    assert code == 1
    assert "Deployment/nope is not in namespace shop" in said
    assert plugin(capsys, "predict", "-n", "empty")[0] == 1
    code, _, said = plugin(capsys, "predcit")
    assert code == 2
    assert "did you mean predict?" in said


def test_explain_names_what_a_prediction_rests_on(cluster, capsys):
    code, out, _ = plugin(capsys, "explain", "deploy/web", "-n", "shop")
    assert code == 0
    assert "rests on" in out


def test_a_manifest_is_compared_with_what_runs(cluster, tmp_path, capsys):
    new = manifest("web", "nginx:1.27", replicas=5) + "---\n" + manifest("added", "redis:7")
    (tmp_path / "new.yaml").write_text(new)
    for run in (
        lambda: main(["diff", "--live", "new.yaml", "--format", "json"]),
        lambda: kubectl.main(["diff", "-f", "new.yaml", "--format", "json"]),
    ):
        assert run() == 0
        changes = {one["workload_name"]: one for one in json.loads(capsys.readouterr().out)["changes"]}
        assert {name: change["change"] for name, change in changes.items()} == {"web": "changed", "added": "added"}
        assert "replicas 3 -> 5" in changes["web"]["what"]


def test_replicas_that_a_manifest_leaves_out_stay_as_they_are(cluster, tmp_path, capsys):
    text = manifest("web", "nginx:1.27", cpu="100m").replace("  replicas: 2\n", "")
    (tmp_path / "new.yaml").write_text(text)
    assert main(["diff", "--live", "new.yaml", "--format", "json"]) == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]  # the memory request
    assert change["new"]["replicas"] == 3
    assert not any(entry.startswith("replicas") for entry in change["what"])


def test_defaults_of_other_commands_are_left_to_these(cluster, tmp_path, capsys):
    (tmp_path / "podpower.yaml").write_text("comment: {price: 0.3}\nprice: 0.2\n")
    code, out, said = plugin(capsys, "predict", "deployment/web", "-n", "shop", "--format", "json")
    assert (code, said) == (0, said)
    assert json.loads(out)["inputs"]["price_per_kwh"] == 0.2
