"""The same software on another cluster: `moved.py SPECS.ndjson LABELS.parquet`.

Trains on all labels and predicts the measured pods again under other names: another node and namespace, another version
of each image, another release name, other requests, images through a mirror; each on top of those before it. From the
second on nothing is `seen`. What was measured is taken for the truth.
"""

import random
import re
import sys

import msgspec
import numpy as np

from podpower.cli.output import number, table
from podpower.datasets.join import join_rows
from podpower.datasets.training_set import TrainingSet
from podpower.evaluation.scores import score
from podpower.features.encoder import Encoder
from podpower.features.table import features_table
from podpower.labels.table import read_labels
from podpower.model.predictor import Predictor
from podpower.model.scale import FLOOR_W
from podpower.specs.ndjson import read_ndjson
from podpower.specs.requests import Container, InferenceRequest
from podpower.training.train import train

COLUMNS = ("changed", "WAPE", "log R2", "in 80%", "largest error of the ten that draw most")


def renamed(request: InferenceRequest) -> InferenceRequest:
    name = re.sub(r"-n\d+$", "-elsewhere", request.workload_name)
    return msgspec.structs.replace(request, workload_name=name, namespace=f"team-{request.namespace}")


def released(request: InferenceRequest) -> InferenceRequest:
    name = request.workload_name.replace("prometheus-prometheus", "kps").replace("prometheus-", "kps-")
    return msgspec.structs.replace(request, workload_name=name)


def upgraded(container: Container) -> Container:
    image = re.sub(r":[^:/]*$", "", (container.image or "").partition("@")[0])
    return msgspec.structs.replace(container, image=f"{image}:v99")


def resized(container: Container, rng: random.Random) -> Container:
    """A third of the requests doubled, a third of the absent ones made."""
    if rng.random() > 1 / 3:
        return container
    cpu, memory = container.req_cpu_mcpu, container.req_mem_mib
    return msgspec.structs.replace(
        container, req_cpu_mcpu=2 * cpu if cpu else 100.0, req_mem_mib=2 * memory if memory else 128.0
    )


def mirrored(container: Container) -> Container:
    first, _, rest = (container.image or "").partition("/")
    path = rest if "." in first or ":" in first else f"library/{container.image}" if not rest else container.image
    return msgspec.structs.replace(container, image=f"harbor.example.org/proxy/{path}")


def main(specs: str, labels: str) -> None:
    with open(specs, "rb") as file:
        requests = [line for line in read_ndjson(file, source=specs) if isinstance(line, InferenceRequest)]
    encoder = Encoder.fit(requests)
    rows = join_rows(features_table(requests, encoder.transform(requests), encoder=encoder), read_labels(labels)).rows
    training_set = TrainingSet.of(rows)
    predictor, pods = Predictor(encoder, train(training_set), version="moved"), training_set.pods()
    measured_w = dict(zip(pods.pods, pods.power_w.tolist(), strict=True))
    asked = [r for r in requests if r.workload_kind == "Pod" and r.workload_name in measured_w]
    watts = np.array([measured_w[request.workload_name] for request in asked])
    largest, rng = np.argsort(-watts)[:10], random.Random(1)

    def containers(change):
        return lambda r: msgspec.structs.replace(r, containers=[change(c) for c in r.containers])

    steps = {
        "node, namespace": renamed,
        "+ image versions": containers(upgraded),
        "+ release names": released,
        "+ requests": containers(lambda container: resized(container, rng)),
        "+ a mirror": containers(mirrored),
    }
    lines = []
    for what, change in steps.items():
        asked = [change(request) for request in asked]
        answers = predictor.predict(asked)
        predicted = np.array([answer.pred_avg_power_w for answer in answers])
        low, high = np.array([answer.interval.avg_power_w for answer in answers]).T
        found = score(watts, predicted, FLOOR_W, {0.8: (low, high)})
        worst = np.abs(predicted[largest] / watts[largest] - 1).max()
        lines.append((what, number(found.wape, 2), number(found.log_r2, 2), f"{found.coverage:.0%}", f"{worst:.0%}"))
    table(COLUMNS, lines, right=COLUMNS[1:])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
