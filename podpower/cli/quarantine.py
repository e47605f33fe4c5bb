"""`podpower models quarantine`: specs whose labels left their known range."""

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from podpower.cli import output
from podpower.cli.arguments import Commands, Parser, UsageError, add_command, add_group

if TYPE_CHECKING:
    from podpower.registry.store import ModelStore

Open = Callable[[argparse.Namespace], "ModelStore"]
_DETAILS = """\
Training compares the labels of each spec with the range that the served model knows of it. Labels outside by more than
ten times are not used until the spec is released or has stayed outside for a day.

  podpower models quarantine list
  podpower models quarantine release shop/Deployment/web
"""


def add(group: Commands, *, add_store: Callable[[Parser], None], open_store: Open) -> None:
    """Add the commands to `podpower models`, whose options of the store they share."""
    commands = add_group(
        group, "quarantine", summary="Specs whose labels left their known range by more than ten times: list, release."
    )
    parser = add_command(
        commands,
        "list",
        lambda arguments: list_specs(open_store(arguments), as_json=arguments.json),
        summary="List the specs whose labels are not used.",
        details=_DETAILS,
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    add_store(parser)
    parser = add_command(
        commands,
        "release",
        lambda arguments: release(open_store(arguments), name=arguments.name, everything=arguments.all),
        summary="Use the labels of a workload from the next training on.",
        details=_DETAILS,
    )
    parser.add_argument("name", nargs="?", help="namespace/kind/name of a workload, or its name where that is unique")
    parser.add_argument("--all", action="store_true", help="release every spec in quarantine")
    add_store(parser)


def list_specs(store: "ModelStore", *, as_json: bool) -> int:
    """Print the specs in quarantine."""
    import msgspec  # noqa: PLC0415

    state = store.quarantine.read()
    if as_json:
        print(json.dumps(msgspec.to_builtins(state), indent=2))
        return 0
    if not state.specs:
        output.note("no spec is in quarantine")
        return 0
    columns = ("workload", "cluster", "spec", "known, W", "measured, W", "hours", "since")
    rows = [
        (
            spec.workload,
            spec.cluster or "-",
            spec.spec_hash[:12],
            f"{spec.low_w:.3g} to {spec.high_w:.3g}",
            f"{spec.least_w:.3g} to {spec.most_w:.3g}",
            str(spec.hours),
            datetime.fromtimestamp(spec.since_s, UTC).isoformat(timespec="minutes"),
        )
        for spec in state.specs
    ]
    output.table(columns, rows, right=columns[3:6])
    if state.count > len(rows):
        output.note(f"and {state.count - len(rows)} more")
    return 0


def release(store: "ModelStore", *, name: str | None, everything: bool) -> int:
    """Release the specs of a workload, or all; print their workloads."""
    if everything == (name is not None):
        raise UsageError("give the name of a workload or --all")
    for workload in dict.fromkeys(spec.workload for spec in store.quarantine.release(name)):
        print(workload)
    output.note("their labels are used from the next training on")
    return 0
