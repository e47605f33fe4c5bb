"""`podpower models`: the versions in a model store."""

import argparse
import json
from typing import TYPE_CHECKING

from podpower.cli import output, streams
from podpower.cli.arguments import Commands, Parser, add_command, add_group
from podpower.cli.artifacts import read_encoder, read_model
from podpower.cli.tables import read_rows
from podpower.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from podpower.registry.store import ModelStore, VersionInfo


_EXAMPLES = """\
  podpower models list
  podpower models add --encoder encoder.joblib --model knn_energy.joblib
  podpower models promote 20260101T000000Z-0a1b2c3d4e5f --store s3://bucket/models
  podpower models compare 20260101T000000Z-0a1b2c3d4e5f --train held_out_rows.parquet
  podpower models rollback
"""


def add(commands: Commands) -> None:
    """Add the commands."""
    group = add_group(
        commands, "models", summary="Versions in a model store: list, show, add, compare, promote, roll back, prune."
    )
    parser = add_command(
        group, "list", list_versions, summary="List the versions, newest first; * is served.", details=_EXAMPLES
    )
    parser.add_argument("--verify", action="store_true", help="also hold every file against its digest")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    _add_store(parser)
    parser = add_command(group, "show", show, summary="Print what is known of a version as JSON.")
    parser.add_argument("version", nargs="?", help="default: the one that is served")
    _add_store(parser)
    parser = add_command(
        group,
        "add",
        add_version,
        summary="Put an encoder and a model into the store, as a version that can be promoted.",
        details=_EXAMPLES,
    )
    parser.add_argument("--encoder", required=True, metavar="FILE", help="encoder.joblib of `encode fit`")
    parser.add_argument("--model", required=True, metavar="FILE", help="knn_energy.joblib of `train`, of that encoder")
    _add_store(parser)
    parser = add_command(
        group,
        "compare",
        compare,
        summary="Compare a version with another on the same held-out rows; 1 when it is worse.",
        details="""\
Paired by workload: on workloads that both know, and with each workload taken out of both. Give rows that are younger
than the labels of both.

"""
        + _EXAMPLES,
    )
    parser.add_argument("version", help="the candidate")
    parser.add_argument("--against", metavar="VERSION", help="default: the one that is served")
    parser.add_argument("--train", required=True, metavar="FILE", help="held-out rows: train_rows.parquet of `join`")
    _add_store(parser)
    parser = add_command(group, "promote", promote, summary="Serve this version from now on.")
    parser.add_argument("version")
    parser.add_argument("--hold", action="store_true", help="and let no candidate replace it by itself")
    _add_store(parser)
    _add_store(add_command(group, "resume", resume, summary="Let candidates replace what is served and held."))
    _add_store(add_command(group, "history", history, summary="Print what was served when, oldest first."))
    parser = add_command(
        group, "prune", prune, summary="Remove the oldest versions, but not what is served or may be rolled back to."
    )
    parser.add_argument("--keep", type=int, default=50, metavar="N", help="how many stay (default %(default)s)")
    _add_store(parser)
    _add_store(
        add_command(
            group,
            "rollback",
            rollback,
            summary="Serve the version that was served before, and hold it: no candidate replaces it by itself.",
        )
    )


def _add_store(parser: Parser) -> None:
    parser.add_argument(
        "--store",
        metavar="PATH_OR_URL",
        help="model store (default: PODPOWER_MODEL_STORE, else models/ below PODPOWER_HOME or .podpower)",
    )


def _open(arguments: argparse.Namespace) -> "ModelStore":
    from podpower.registry.store import ModelStore  # noqa: PLC0415

    return ModelStore(arguments.store or arguments.settings.places.model_store)


def list_versions(arguments: argparse.Namespace) -> int:
    """Print a table of versions."""
    import msgspec  # noqa: PLC0415

    from podpower.registry.promotions import LATEST_FILE, RESUME  # noqa: PLC0415

    store = _open(arguments)
    versions, damaged = store.versions(), store.damaged(contents=arguments.verify)
    readable = LATEST_FILE not in damaged
    latest = store.latest() if readable else None
    for reason in damaged.values():
        output.note(f"warning: {reason}")
    if readable and store.held():
        output.note(f"{latest} is held: {RESUME}")
    if arguments.json:
        plain = [{**msgspec.to_builtins(info), "served": info.version == latest} for info in versions]
        print(json.dumps(plain, indent=2))
        return 1 if damaged and arguments.verify else 0
    if not versions:
        output.note(f"no version in {store.root} yet: see `podpower models add`, or materialize knn_model")
        return 0
    columns = ("", "version", "trained", "specs", "workloads", "left-out WAPE", "left-out log R2", "judged")
    rows = [
        (
            "*" if info.version == latest else "",
            info.version,
            info.trained_at,
            output.number(info.training_size.get("specs")),
            output.number(info.training_size.get("workloads")),
            output.number(info.metrics.get("left_out_wape")),
            output.number(info.metrics.get("left_out_log_r2"), 2),
            _judged(info),
        )
        for info in versions
    ]
    output.table(columns, rows, right=columns[3:7])
    return 1 if damaged and arguments.verify else 0


def _judged(info: "VersionInfo") -> str:
    """What was found when it was made: which checks it failed, or that it may be served."""
    failed = info.metadata.get("failed_checks")
    if failed is None:
        return "-"
    return f"failed {', '.join(map(str, failed))}" if failed else "good"


def show(arguments: argparse.Namespace) -> int:
    """Print one version as JSON."""
    import msgspec  # noqa: PLC0415

    store = _open(arguments)
    version = arguments.version or store.latest()
    if version is None:
        raise Unavailable(f"nothing is promoted in {store.root} yet: see `podpower models promote --help`")
    print(json.dumps(msgspec.to_builtins(store.info(version)), indent=2))
    return 0


def add_version(arguments: argparse.Namespace) -> int:
    """Store the pair and print its version."""
    streams.check_inputs(arguments.encoder, arguments.model)
    print(_open(arguments).add(read_encoder(arguments.encoder), read_model(arguments.model)))
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Print whether the candidate is worse, and how sure that is."""
    from podpower.datasets.training_set import TrainingSet  # noqa: PLC0415
    from podpower.evaluation.gate import compare_known, compare_unknown, doubt_labels  # noqa: PLC0415

    store = _open(arguments)
    against = arguments.against or store.latest()
    if against is None:
        raise InvalidInput("nothing is served yet, hence nothing to compare with: give --against")
    training_set = TrainingSet.of(read_rows(arguments.train))
    pods = training_set.pods()
    (_, champion), (_, candidate) = store.load(against), store.load(arguments.version)
    for model, version in ((champion, against), (candidate, arguments.version)):
        if model.encoder_fingerprint != pods.encoder_fingerprint:
            raise InvalidInput(f"{version} is of another encoder than {arguments.train}: encode the rows with its own")
    results = [compared(champion, candidate, pods) for compared in (compare_known, compare_unknown)]
    for result in results:
        print(result)
    print(doubt_labels(champion, training_set.examples()))
    if (pods.first_s.min()) <= max(champion.labels_end_s, candidate.labels_end_s):
        output.note(
            "note: some rows are not younger than the labels of both: on what it was trained on, a model shines"
        )
    return 1 if any(result.verdict == "worse" for result in results) else 0


def promote(arguments: argparse.Namespace) -> int:
    """Make a version the one that is served; print it."""
    store = _open(arguments)
    failed = store.info(arguments.version).metadata.get("failed_checks")
    store.promote(arguments.version, hold=arguments.hold)
    print(arguments.version)
    if failed:
        output.note(f"note: it failed {', '.join(map(str, failed))}: see `podpower models show {arguments.version}`")
    return 0


def resume(arguments: argparse.Namespace) -> int:
    """End the hold; print what is served."""
    print(_open(arguments).resume())
    return 0


def history(arguments: argparse.Namespace) -> int:
    """Print a table of changes."""
    store = _open(arguments)
    changes = store.history()
    if not changes:
        output.note(f"nothing was promoted in {store.root} yet")
        return 0
    output.table(("at", "what", "version"), [(change.at, change.action, change.version) for change in changes])
    return 0


def prune(arguments: argparse.Namespace) -> int:
    """Remove old versions; print them."""
    for version in _open(arguments).prune(keep=arguments.keep):
        print(version)
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    """Go back to the version before; print it."""
    from podpower.registry.promotions import RESUME  # noqa: PLC0415

    store = _open(arguments)
    print(store.rollback())
    output.note(f"it is held: {RESUME}")
    return 0
