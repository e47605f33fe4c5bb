"""`podpower models`: the versions in a model store."""

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from podpower.cli import output, quarantine, streams
from podpower.cli.arguments import Commands, Parser, add_command, add_group
from podpower.cli.artifacts import read_encoder, read_model
from podpower.cli.tables import read_training_set
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
_COMPARED = """\
Paired by workload: on workloads that both know, and with each workload removed from both. Give rows that are newer than
the labels of both. Labels that left their known range by more than ten times are named and not compared on.

"""
_LISTED = "versions, newest first; figures of unseen workloads"


def add(commands: Commands) -> None:
    """Add the commands."""
    group = add_group(
        commands,
        "models",
        summary="Versions in a model store: list, show, add, compare, promote, pin, roll back, quarantine, prune.",
    )
    parser = add_command(
        group, "list", list_versions, summary="List the versions, newest first; * is served.", details=_EXAMPLES
    )
    parser.add_argument("--verify", action="store_true", help="also compare every file with its digest")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    _add_store(parser)
    parser = add_command(group, "show", show, summary="Print the manifest of a version as JSON.")
    parser.add_argument("version", nargs="?", help="default: the served one")
    _add_store(parser)
    _add_candidates(group)
    _add_promotion(group)
    quarantine.add(group, add_store=_add_store, open_store=_open)
    parser = add_command(
        group, "prune", prune, summary="Remove the oldest versions; served ones and those a rollback returns to stay."
    )
    parser.add_argument("--keep", type=int, default=50, metavar="N", help="how many stay (default %(default)s)")
    _add_store(parser)


def _add_candidates(group: Commands) -> None:
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
        summary="Compare a version with another on the same held-out rows; exit code 1 when it is worse.",
        details=_COMPARED + _EXAMPLES,
    )
    parser.add_argument("version", help="the candidate")
    parser.add_argument("--against", metavar="VERSION", help="default: the served one")
    parser.add_argument("--train", required=True, metavar="FILE", help="held-out rows: train_rows.parquet of `join`")
    _add_store(parser)


def _add_promotion(group: Commands) -> None:
    parser = add_command(group, "promote", promote, summary="Serve this version from now on.")
    parser.add_argument("version")
    parser.add_argument("--pin", "--hold", action="store_true", help="and pin it: candidates do not replace it")
    _add_store(parser)
    _add_store(add_command(group, "pin", pin, summary="Pin the served version: candidates do not replace it."))
    summary = "Unpin the served version: candidates can replace it."
    _add_store(add_command(group, "unpin", unpin, summary=summary, aliases=["resume"]))
    summary = "Serve the version that was served before, and pin it."
    _add_store(add_command(group, "rollback", rollback, summary=summary))
    parser = add_command(group, "history", history, summary="Print what was served when, oldest first.")
    parser.add_argument("--by-day", action="store_true", help="print the versions served on each day (UTC)")
    _add_store(parser)


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

    from podpower.evaluation.figures import LISTED  # noqa: PLC0415
    from podpower.registry.promotions import LATEST_FILE, UNPIN  # noqa: PLC0415

    store = _open(arguments)
    versions, damaged = store.versions(), store.damaged(contents=arguments.verify)
    readable = LATEST_FILE not in damaged
    served = store.served() if readable else None
    for reason in damaged.values():
        output.note(f"warning: {reason}")
    for version in store.unverified() if arguments.verify else ():
        output.note(f"note: the manifest of {version} is of an earlier podpower and has no digest")
    if readable and store.pinned():
        output.note(f"{served} is pinned: {UNPIN}")
    if arguments.json:
        plain = [{**msgspec.to_builtins(info), "served": info.version == served} for info in versions]
        print(json.dumps(plain, indent=2))
        return 1 if damaged and arguments.verify else 0
    if not versions:
        output.note(f"no version in {store.root} yet: see `podpower models add`, or materialize knn_model")
        return 0
    numbers = ("specs", "workloads", *(figure.name for figure in LISTED))
    rows = [_row(info, served=info.version == served) for info in versions]
    output.table(("", "version", "trained", *numbers, "gate"), rows, title=_LISTED, right=numbers)
    return 1 if damaged and arguments.verify else 0


def _row(info: "VersionInfo", *, served: bool) -> tuple[str, ...]:
    from podpower.evaluation.figures import LISTED, kept_figure  # noqa: PLC0415
    from podpower.evaluation.names import UNSEEN  # noqa: PLC0415

    return (
        "*" if served else "",
        info.version,
        info.trained_at,
        output.number(info.training_size.get("specs")),
        output.number(info.training_size.get("workloads")),
        *(kept_figure(info.metrics, UNSEEN, figure) for figure in LISTED),
        _gate(info),
    )


def _gate(info: "VersionInfo") -> str:
    """Return the outcome of a candidate's checks."""
    failed = info.metadata.get("failed_checks")
    if failed is None:
        return "-"
    return f"failed {', '.join(map(str, failed))}" if failed else "passed"


def show(arguments: argparse.Namespace) -> int:
    """Print one version as JSON."""
    import msgspec  # noqa: PLC0415

    store = _open(arguments)
    version = arguments.version or store.served()
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
    """Print the comparison of the candidate with another version."""
    from podpower.evaluation.comparison import compare_known, compare_unknown, find_label_shift  # noqa: PLC0415
    from podpower.evaluation.quarantine import find_quarantined  # noqa: PLC0415

    store = _open(arguments)
    against = arguments.against or store.served()
    if against is None:
        raise InvalidInput("nothing is served yet, hence nothing to compare with: give --against")
    training_set = read_training_set(arguments.train)
    (_, champion), (_, candidate) = store.load(against), store.load(arguments.version)
    for model, version in ((champion, against), (candidate, arguments.version)):
        if model.encoder_fingerprint != training_set.encoder_fingerprint:
            raise InvalidInput(f"{version} is of another encoder than {arguments.train}: encode the rows with its own")
    found = find_quarantined(champion, training_set, before=store.quarantine.last())
    pods = found.usable().pods()
    results = [compared(champion, candidate, pods) for compared in (compare_known, compare_unknown)]
    for line in (*results, find_label_shift(champion, training_set.examples()), found):
        print(line)
    if pods.first_s.min() <= max(champion.labels_end_s, candidate.labels_end_s):
        output.note("note: some rows are not newer than the labels of both models, which favours the one that has them")
    return 1 if any(result.verdict == "worse" for result in results) else 0


def promote(arguments: argparse.Namespace) -> int:
    """Serve a version; print it."""
    store = _open(arguments)
    failed = store.info(arguments.version).metadata.get("failed_checks")
    store.promote(arguments.version, pin=arguments.pin)
    print(arguments.version)
    if failed:
        output.note(f"note: it failed {', '.join(map(str, failed))}: see `podpower models show {arguments.version}`")
    return 0


def pin(arguments: argparse.Namespace) -> int:
    """Pin the served version; print it."""
    print(_open(arguments).pin())
    return 0


def unpin(arguments: argparse.Namespace) -> int:
    """Unpin the served version; print it."""
    print(_open(arguments).unpin())
    return 0


def history(arguments: argparse.Namespace) -> int:
    """Print a table of changes, or of the versions served on each day."""
    store = _open(arguments)
    changes = store.history()
    if not changes:
        output.note(f"nothing was promoted in {store.root} yet")
        return 0
    if arguments.by_day:
        output.table(("day", "from", "to", "version"), list(_by_day(store, now=datetime.now(UTC))))
    else:
        output.table(("at", "what", "version"), [(change.at, change.action, change.version) for change in changes])
    return 0


def _by_day(store: "ModelStore", *, now: datetime) -> Iterator[tuple[str, str, str, str]]:
    """Yield each version with its part of each day, since the first promotion."""
    for serving in store.serving(0.0, now.timestamp()):
        start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in (serving.start_s, serving.end_s))
        while start < end:
            midnight = datetime.combine(start.date() + timedelta(days=1), time(), UTC)
            until = "24:00" if end >= midnight else f"{end:%H:%M}"
            yield f"{start:%Y-%m-%d}", f"{start:%H:%M}", until, serving.version
            start = midnight


def prune(arguments: argparse.Namespace) -> int:
    """Remove old versions; print them."""
    for version in _open(arguments).prune(keep=arguments.keep):
        print(version)
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    """Serve the version before; print it."""
    from podpower.registry.promotions import UNPIN  # noqa: PLC0415

    print(_open(arguments).rollback())
    output.note(f"it is pinned: {UNPIN}")
    return 0
