"""`podpower encode`: fit an encoder of workloads and apply it."""

import argparse
from typing import TYPE_CHECKING

from podpower.cli import inputs, output, streams
from podpower.cli.arguments import Commands, UsageError, add_command, add_group
from podpower.cli.artifacts import read_encoder, write_encoder
from podpower.cli.tables import write_table

if TYPE_CHECKING:
    from podpower.features.encoder import TextEncoder


def add(commands: Commands) -> None:
    """Add the commands."""
    group = add_group(commands, "encode", summary="Encode workloads as vectors: fit an encoder, apply it.")
    parser = add_command(
        group,
        "fit",
        fit,
        summary="Fit an encoder on workloads.",
        details="  podpower encode fit --input in.ndjson --out artifacts/encoder.joblib\n",
    )
    _add_input(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write encoder.joblib")
    parser.add_argument(
        "--text",
        choices=("ngram", "sbert", "both", "none"),
        help="how names and images are encoded: hashed n-grams (default), sentence embeddings "
        "(the extra `sbert`), by both, or not at all",
    )
    parser.add_argument("--no-sbert", action="store_true", help="no sentence embeddings; the default, kept for scripts")
    parser.add_argument("--sbert-model", metavar="NAME_OR_PATH", help="sentence-transformers model for --text sbert")

    parser = add_command(
        group,
        "transform",
        transform,
        summary="Write the vectors of workloads.",
        details="  podpower encode transform --input in.ndjson --encoder encoder.joblib --out features.parquet\n",
    )
    _add_input(parser)
    parser.add_argument("--encoder", required=True, metavar="FILE", help="encoder.joblib of `encode fit`")
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write features.parquet")


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", required=True, metavar="FILE", help="NDJSON of InferenceRequests, manifests, or -")


def fit(arguments: argparse.Namespace) -> int:
    """Fit and write an encoder; return 1 when some objects could not be read."""
    from podpower.features.encoder import Encoder  # noqa: PLC0415

    text: TextEncoder = arguments.text or ("sbert" if arguments.sbert_model else "ngram")
    if arguments.no_sbert and text in {"sbert", "both"}:
        raise UsageError("--no-sbert contradicts --text sbert or --sbert-model: leave one out")
    streams.check_output(arguments.out, inputs=[arguments.input])
    workloads = inputs.read_specs(arguments.input)
    requests = workloads.requests
    encoder = Encoder.fit(requests, text=text, sbert_model=arguments.sbert_model)
    write_encoder(encoder, arguments.out)
    output.note(
        f"{arguments.out}: {encoder.text} encoder of {encoder.dim} columns, fitted on {len(requests)} workloads, "
        f"fingerprint {encoder.fingerprint[:12]}"
    )
    return inputs.report(workloads.errors)


def transform(arguments: argparse.Namespace) -> int:
    """Encode workloads and write the table; return 1 when some objects could not be read."""
    from podpower.datasets.hash_versions import HASH_VERSION, older_hashes  # noqa: PLC0415
    from podpower.features.table import features_table  # noqa: PLC0415
    from podpower.specs.hashing import hash_version  # noqa: PLC0415

    streams.check_output(arguments.out, inputs=[arguments.input, arguments.encoder])
    streams.check_inputs(arguments.input, arguments.encoder)
    workloads = inputs.read_specs(arguments.input)
    requests = workloads.requests
    encoder = read_encoder(arguments.encoder)
    table = features_table(requests, encoder.transform(requests), encoder=encoder)
    write_table(table, arguments.out)
    output.note(f"{arguments.out}: {len(table)} workloads, {encoder.dim} columns, encoder {encoder.fingerprint[:12]}")
    if older := sum(hash_version(request) < HASH_VERSION for request in requests):
        output.note(f"warning: {arguments.input}: {older_hashes(older, len(requests), command='podpower collect')}")
    return inputs.report(workloads.errors)
