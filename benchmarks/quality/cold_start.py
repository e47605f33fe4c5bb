"""How fast labels replace the physical estimate: `cold_start.py SPECS.ndjson LABELS.parquet [draws]`, or
`cold_start.py simulated` for a simulated day of 40 workloads, the same whenever this runs.

Trains on the first k workloads of a random order, for k = 0, 1, 2, 4 ..., and predicts all the others; the mean of many
draws. Errors are typical factors, exp of the mean absolute log error, each workload counting once.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from figures import simulated

from podpower.cli.output import number, table
from podpower.datasets.join import join_rows
from podpower.datasets.training_set import TrainingSet
from podpower.features.encoder import Encoder
from podpower.features.table import features_table
from podpower.labels.table import read_labels
from podpower.model.cold_start import cold_start_model
from podpower.model.scale import to_log
from podpower.specs.ndjson import read_ndjson
from podpower.specs.requests import InferenceRequest
from podpower.training.groups import linked_groups
from podpower.training.train import train_examples

COLUMNS = ("workloads with labels", "typical factor", "in 50%", "in 80%", "in 95%", "80% interval spans a factor of")


def main(specs: str, labels: str, draws: int) -> None:
    with open(specs, "rb") as file:
        requests = [line for line in read_ndjson(file, source=specs) if isinstance(line, InferenceRequest)]
    encoder = Encoder.fit(requests)
    rows = join_rows(features_table(requests, encoder.transform(requests), encoder=encoder), read_labels(labels)).rows
    training_set = TrainingSet.of(rows)
    examples, pods = training_set.examples(), training_set.pods()
    groups = linked_groups(examples.entries.workloads, examples.entries.spec_hashes)
    group_of = dict(zip(examples.entries.workloads, groups.tolist(), strict=True))
    of_example = groups[examples.entry]
    of_pod = np.array([group_of[pods.entries.workloads[entry]] for entry in pods.entry])
    measured, count = to_log(pods.power_w), int(groups.max()) + 1
    rng, lines = np.random.default_rng(0), []
    for known in [0, *(2**k for k in range(20) if 2**k < count)]:
        found = []
        for _ in range(draws if known else 1):
            chosen = rng.permutation(count)[:known]
            model = train_examples(examples.take(np.isin(of_example, chosen))) if known else cold_start_model(encoder)
            at = np.flatnonzero(~np.isin(of_pod, chosen))
            estimates = model.predict(pods.take(at).queries())
            inside = [
                (low <= pods.power_w[at]) & (pods.power_w[at] <= high)
                for low, high in (estimates.interval(level) for level in estimates.levels)
            ]
            low, high = (to_log(end) for end in estimates.interval())
            values = [np.abs(to_log(estimates.power_w) - measured[at]), *inside, high - low]
            weights = 1.0 / np.bincount(of_pod[at])[of_pod[at]]
            found.append([float(np.average(value, weights=weights)) for value in values])
        error, *coverages, width = np.mean(found, axis=0)
        shown = [f"{coverage:.0%}" for coverage in coverages]
        lines.append((str(known), number(float(np.exp(error)), 2), *shown, number(float(np.exp(width)), 0)))
    table(COLUMNS, lines, right=COLUMNS)


if __name__ == "__main__":
    if sys.argv[1:] == ["simulated"]:
        with tempfile.TemporaryDirectory() as folder:
            main(*map(str, simulated(Path(folder), hours=24, workloads=40, seed=1)), 20)
    elif len(sys.argv) in {3, 4}:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) == 4 else 20)
    else:
        sys.exit(__doc__)
