"""`podpower models`: the versions in a model store."""

import argparse
import json
import os
from typing import TYPE_CHECKING

from podpower.cli import showing
from podpower.cli.arguments import Commands, Parser, add_command, add_group
from podpower.errors import Unavailable

if TYPE_CHECKING:
    from podpower.model.store import ModelStore


_EXAMPLES = """\
  podpower models list
  podpower models promote 20260101T000000Z-0a1b2c3d4e5f --store s3://bucket/models
  podpower models rollback
"""


def add(commands: Commands) -> None:
    """Add the commands."""
    group = add_group(commands, "models", summary="Versions in a model store: list, show, promote, roll back.")
    _add_store(
        add_command(
            group, "list", list_versions, summary="List the versions, newest first; * is served.", details=_EXAMPLES
        )
    )
    parser = add_command(group, "show", show, summary="Print what is known of a version as JSON.")
    parser.add_argument("version", nargs="?", help="default: the one that is served")
    _add_store(parser)
    parser = add_command(group, "promote", promote, summary="Serve this version from now on.")
    parser.add_argument("version")
    _add_store(parser)
    _add_store(add_command(group, "rollback", rollback, summary="Serve the version that was served before."))


def _add_store(parser: Parser) -> None:
    parser.add_argument(
        "--store",
        metavar="PATH_OR_URL",
        help="model store (default: PODPOWER_MODEL_STORE, else models/ below PODPOWER_HOME or .podpower)",
    )


def _open(arguments: argparse.Namespace) -> "ModelStore":
    from podpower.model.store import ModelStore  # noqa: PLC0415

    home = os.environ.get("PODPOWER_HOME") or ".podpower"
    return ModelStore(arguments.store or os.environ.get("PODPOWER_MODEL_STORE") or f"{home}/models")


def list_versions(arguments: argparse.Namespace) -> int:
    """Print a table of versions."""
    store = _open(arguments)
    latest, versions = store.latest(), store.versions()
    if not versions:
        showing.note(f"no version in {store.root} yet")
        return 0
    columns = ("", "version", "trained", "target", "specs", "workloads", "left-out WAPE", "left-out log R2")
    rows = [
        (
            "*" if info.version == latest else "",
            info.version,
            info.trained_at,
            info.target,
            showing.number(info.training_size.get("specs")),
            showing.number(info.training_size.get("workloads")),
            showing.number(info.metrics.get("left_out_wape")),
            showing.number(info.metrics.get("left_out_log_r2"), 2),
        )
        for info in versions
    ]
    showing.table(columns, rows, right=columns[4:])
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print one version as JSON."""
    import msgspec  # noqa: PLC0415

    store = _open(arguments)
    version = arguments.version or store.latest()
    if version is None:
        raise Unavailable(f"nothing is promoted in {store.root} yet: see `podpower models promote --help`")
    print(json.dumps(msgspec.to_builtins(store.info(version)), indent=2))
    return 0


def promote(arguments: argparse.Namespace) -> int:
    """Make a version the one that is served; print it."""
    _open(arguments).promote(arguments.version)
    print(arguments.version)
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    """Go back to the version before; print it."""
    print(_open(arguments).rollback())
    return 0
