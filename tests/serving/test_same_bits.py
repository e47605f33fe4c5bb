"""One spec through single, batch, YAML and command line: the same bits."""

import json

import pytest

from podpower.cli import main
from podpower.registry.artifacts import save_encoder, save_model

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
WORDS = ("redis", "shop/cart-api", "grafana/grafana", "acme/app1", "acme/app2", "python", "quay.io/coreos/etcd")
# Where predictions of other batches would differ in their last bits.
NUMBERS = ("pred_avg_power_w", "expected_avg_power_w", "total_avg_power_w", "interval", "total_interval", "kwh_month")


def manifest(number):
    kind, image = KINDS[number % len(KINDS)], WORDS[number % len(WORDS)]
    container = {"name": "main", "image": f"{image}:v{number}", "args": [f"--size={number}", "--verbose"]}
    if number % 3:
        container["resources"] = {"requests": {"cpu": f"{137 * number}m", "memory": f"{91 * number}Mi"}}
    pod = {"containers": [container] * (1 + number % 2)}
    pod["containers"] = [c | {"name": f"c{i}"} for i, c in enumerate(pod["containers"])]
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {"name": f"{image.rpartition('/')[2]}-{number}", "namespace": "same"},
        "spec": {"template": {"metadata": {}, "spec": pod | {"restartPolicy": "Never"} if kind == "Job" else pod}},
    }


@pytest.fixture(scope="module")
def manifests():
    return [manifest(number) for number in range(40)]


def test_one_spec_gives_the_same_bits_on_every_way(client, pair, manifests, tmp_path, capsys):
    yaml = {"Content-Type": "application/yaml"}
    documents = "\n---\n".join(json.dumps(one) for one in manifests)  # JSON is YAML
    requests = client.post("/infer/from-yaml", content=documents, headers=yaml).json()
    batch = client.post("/predict/batch", json=requests).json()["predictions"]
    encoder, model = tmp_path / "encoder.joblib", tmp_path / "knn_energy.joblib"
    save_encoder(pair[0], encoder)
    save_model(pair[1], model)
    (tmp_path / "all.yaml").write_text(documents)
    command = ["predict", "--encoder", str(encoder), "--model", str(model), "-f", str(tmp_path / "all.yaml")]
    assert main([*command, "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)["predictions"]
    assert len(batch) == len(printed) == len(manifests)
    for one, request, of_batch, of_command in zip(manifests, requests, batch, printed, strict=True):
        single = client.post("/predict", json=request).json()
        of_yaml = client.post("/predict/from-yaml", content=json.dumps(one), headers=yaml).json()
        for name in NUMBERS:
            assert single[name] == of_batch[name] == of_yaml[name] == of_command[name], name
