"""What each block of the encoder is worth on unseen workloads: `encoder.py SPECS.ndjson LABELS.parquet [sbert model]`.

Fits the encoder with other block weights, joins, and evaluates leaving workloads out, as `podpower evaluate` does.
Every line trains some dozens of models; on a cluster of 40 workloads a line takes about a second.
"""

import sys

from podpower.features.encoder import BLOCK_WEIGHTS, Encoder
from podpower.features.table import features_table
from podpower.labels.table import read_labels
from podpower.model.evaluation import MODEL, UNSEEN, Score, evaluate
from podpower.rows import join_rows
from podpower.specs.ndjson import read_ndjson
from podpower.specs.requests import InferenceRequest

FACTORS = (0.0, 0.5, 2.0)


def main(specs: str, labels: str, sbert_model: str | None) -> None:
    with open(specs, "rb") as file:
        requests = [line for line in read_ndjson(file, source=specs) if isinstance(line, InferenceRequest)]
    table = read_labels(labels)

    def show(name: str, encoder: Encoder) -> dict[str, Score]:
        features = features_table(requests, encoder.transform(requests), encoder=encoder)
        report = evaluate(join_rows(features, table).rows)
        scores = next(split.scores for split in report.splits if split.name == UNSEEN)
        print_score(name, scores[MODEL])
        return scores

    print(f"{'':24}  WAPE  log R2  rank corr.")
    scores = show("as it is", Encoder.fit(requests))
    for block, weight in BLOCK_WEIGHTS.items():
        for factor in FACTORS:
            weights = BLOCK_WEIGHTS | {block: weight * factor}
            show(f"{block} x {factor:g}", Encoder.fit(requests, block_weights=weights))
    if sbert_model:
        show("sbert", Encoder.fit(requests, text="sbert", sbert_model=sbert_model))
    for name in sorted(set(scores) - {MODEL}):
        print_score(name, scores[name])


def print_score(name: str, score: Score) -> None:
    cells = (score.wape, score.log_r2, score.rank_correlation)
    print(f"{name:24}", "  ".join("    -" if cell is None else f"{cell:5.2f}" for cell in cells), flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else None)
