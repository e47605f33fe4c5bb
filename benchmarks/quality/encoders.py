"""Which text encoder serves unseen workloads best: `encoders.py SPECS.ndjson LABELS.parquet [sentence model]`.

Fits each encoder, joins, and evaluates leaving workloads out, as `podpower evaluate` does (with --ablation it
takes the blocks of one encoder away). With a sentence-transformers model (a name or a folder) embeddings are measured,
too: `pip install '.[sbert]'`.
"""

import sys

from podpower.cli.output import number, table
from podpower.datasets.join import join_rows
from podpower.evaluation.evaluate import evaluate
from podpower.evaluation.names import UNSEEN
from podpower.evaluation.results import MODEL
from podpower.evaluation.scores import Score
from podpower.features.encoder import Encoder, TextEncoder
from podpower.features.table import features_table
from podpower.labels.table import read_labels
from podpower.specs.ndjson import read_ndjson
from podpower.specs.requests import InferenceRequest

COLUMNS = ("text encoder", "WAPE", "log R2", "rank corr.", "in 80%")


def main(specs: str, labels: str, sentence_model: str | None) -> None:
    with open(specs, "rb") as file:
        requests = [line for line in read_ndjson(file, source=specs) if isinstance(line, InferenceRequest)]
    labelled = read_labels(labels)

    def scored(text: TextEncoder) -> dict[str, Score]:
        encoder = Encoder.fit(requests, text=text, sbert_model=sentence_model)
        features = features_table(requests, encoder.transform(requests), encoder=encoder)
        report = evaluate(join_rows(features, labelled).rows, splits=(UNSEEN,))
        if not report.splits:
            sys.exit("; ".join(report.notes))
        return report.splits[0].scores

    texts: tuple[TextEncoder, ...] = ("none", "ngram", "sbert", "both") if sentence_model else ("none", "ngram")
    all_scores = {text: scored(text) for text in texts}
    lines = [(text, *cells(scores[MODEL])) for text, scores in all_scores.items()]
    lines += [(f"({name})", *cells(score)) for name, score in all_scores["ngram"].items() if name != MODEL]
    table(COLUMNS, lines, right=COLUMNS[1:])


def cells(score: Score) -> tuple[str, str, str, str]:
    coverage = None if score.coverage is None else 100 * score.coverage
    values = (number(score.wape, 3), number(score.log_r2, 3), number(score.rank_correlation, 3))
    return (*values, "-" if coverage is None else f"{coverage:.0f}%")


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else None)
