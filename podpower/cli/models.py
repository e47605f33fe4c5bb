"""`podpower models`: the versions in a model store."""

import argparse
import json
import os
from typing import TYPE_CHECKING

from podpower.cli import showing
from podpower.cli.arguments import Commands, Parser, add_command, add_group
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.model.store import ModelStore


def add(commands: Commands) -> None:
    """Add the commands."""
    group = add_group(commands, "models", summary="Versions in a model store: list, show, promote, roll back.")
    _add_store(add_command(group, "list", list_versions, summary="List the versions, newest first; * is served."))
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
    latest = store.latest()
    versions = store.versions()
    rows = [("*" if version.version == latest else "", version.version) for version in versions]
    showing.table(("", "version"), rows)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print one version as JSON."""
    store = _open(arguments)
    wanted = arguments.version or store.latest()
    for version in store.versions():
        if version.version == wanted:
            print(json.dumps(version, indent=2, default=str))
            return 0
    raise InvalidInput(
        f"no version {wanted} in the store: see `podpower models list`" if wanted else "no version is promoted yet"
    )


def promote(arguments: argparse.Namespace) -> int:
    """Make a version the one that is served."""
    _open(arguments).promote(arguments.version)
    print(arguments.version)
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    """Go back to the version before; print it."""
    print(_open(arguments).rollback())
    return 0
