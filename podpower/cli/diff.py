"""`podpower diff`: what a change of manifests will draw more or less."""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from podpower.cli import inputs, output, predictions
from podpower.cli.arguments import Commands, Parser, UsageError, add_command
from podpower.cli.assessing import add_assessing, bounded_inputs, options_of, predictor_for
from podpower.cli.connections import add_cluster_access
from podpower.cli.impact import threshold
from podpower.cli.predict import THRESHOLD_CODE
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.impact.thresholds import Threshold
    from podpower.specs.selection import Workloads

FORMATS = ("table", "json", "yaml", "csv", "markdown")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "diff",
        run,
        summary="Show what a change of manifests will draw more or less a month.",
        details="""\
A line for each workload that is added, removed or changed, and the monthly total. Errors that are common to both sides
cancel in the interval of a difference: of more replicas only the power of one pod is uncertain. A side is a file, a
folder, - or a path at a commit of git: main:deploy/, or main for the path of the other side.

--live compares with the same objects in the cluster; where NEW names no replicas, those of the cluster stay.
--format markdown is the comment on a pull request, empty when nothing changed (`podpower comment`).

Exit code 1: some objects could not be read. Exit code 3: a threshold is exceeded; percentages are of the kWh of OLD.

  podpower diff main:deploy/ deploy/
  podpower diff old.yaml new.yaml --price 0.30 --fail-increase 5%
  podpower diff --live deploy/ --fail-increase 10kWh
  podpower diff main deploy/ --format markdown > comment.md
""",
    )
    add_diff_options(parser)
    parser.add_argument(
        "sides", nargs="+", metavar="OLD NEW", help="files, folders, - or REF:PATH; with --live only NEW"
    )
    parser.add_argument("--live", action="store_true", help="compare with what runs in the cluster")
    parser.add_argument("-n", "--namespace", metavar="NS", help="namespace of objects that name none, with --live")
    add_cluster_access(parser)


def add_diff_options(parser: Parser) -> None:
    """Add the options that the kubectl plugin has, too."""
    parser.add_argument("-o", "--format", choices=FORMATS, default="table", help="how to print (default %(default)s)")
    add_assessing(parser)
    for name, direction in (("--fail-increase", "increases"), ("--fail-decrease", "decreases")):
        parser.add_argument(
            name,
            action="append",
            default=[],
            type=lambda text: threshold(text, share=True),
            metavar="5%|10kWh",
            help=f"exit with 3 when the total {direction} by more (%%, kWh or money a month, W); can be repeated",
        )


def run(arguments: argparse.Namespace) -> int:
    """Print the difference; return 1 when some objects could not be read, else 3 when a threshold is exceeded."""
    from podpower.cli.sides import read_side  # noqa: PLC0415  # heavy for help

    sides = arguments.sides
    if len(sides) != (1 if arguments.live else 2):
        raise UsageError(
            "--live compares one NEW with the cluster" if arguments.live else "give OLD and NEW, or --live NEW"
        )
    if sides.count("-") > 1:
        raise UsageError("only one side can be standard input (-)")
    options = options_of(arguments)
    new_text = sides[-1]
    new_files = read_side(new_text, other=None if arguments.live else sides[0])
    new = inputs.workloads_of(new_files, options, to_predict=True)
    if new.errors and inputs.is_nothing(new):  # else everything would seem to be removed
        inputs.report(new.errors, nothing_else=True)
        raise InvalidInput(inputs.none_found([new_text], new))
    if arguments.live:
        from podpower.cli.live import live_side  # noqa: PLC0415

        old, new = live_side(arguments, new_files, new, options)
    else:
        old = inputs.workloads_of(read_side(sides[0], other=new_text), options, to_predict=True)
    return show_difference(arguments, old, new)


def show_difference(arguments: argparse.Namespace, old: "Workloads", new: "Workloads") -> int:
    """Print the difference of two sides in the format of the options; return the exit code."""
    from podpower.difference.changes import difference  # noqa: PLC0415
    from podpower.impact.assessment import assess  # noqa: PLC0415

    given = bounded_inputs(arguments, *arguments.fail_increase, *arguments.fail_decrease)
    predictor = predictor_for(arguments, given, new, beside=[old])
    found = difference(predictor, assess(predictor, old, given), assess(predictor, new, given))
    answer = found.answer(given)
    _print(answer, form=arguments.format, lines=given.lines())
    code = inputs.report([*old.errors, *new.errors])
    exceeded = [
        _exceeded(arguments.fail_increase, answer["total"], sign=1.0, direction="increase"),
        _exceeded(arguments.fail_decrease, answer["total"], sign=-1.0, direction="decrease"),
    ]
    return code or (THRESHOLD_CODE if any(exceeded) else 0)


def _exceeded(bounds: "Sequence[Threshold]", total: Mapping[str, Any], *, sign: float, direction: str) -> bool:
    """Print which thresholds the difference exceeds; return whether it exceeds one."""
    from podpower.impact import units  # noqa: PLC0415

    delta, old_kwh = total["delta"], total["old"]["kwh_month"] or 0.0
    kwh = sign * delta["kwh_month"]
    values = {"watts": sign * delta["total_avg_power_w"], "kwh": kwh, "cost": sign * (delta.get("cost_month") or 0.0)}
    found = False
    for bound in bounds:
        exceeded = kwh > bound.value * old_kwh if bound.what == "share" else bound.exceeded(**values)
        if exceeded:
            by = f"{units.kwh(kwh)} a month" if bound.what == "share" else bound.shown(**values)
            of = f" of {units.kwh(old_kwh)}" if bound.what == "share" else ""
            output.note(f"above the threshold of {bound.text}: the {direction} is {by}{of}")
            found = True
        elif delta["unknown"]:
            output.note(
                f"note: {delta['unknown']} changes are of unknown energy: the {direction} may be above {bound.text}"
            )
    return found


def _print(answer: Mapping[str, Any], *, form: str, lines: Sequence[str]) -> None:
    from podpower.difference import comment  # noqa: PLC0415

    if form == "json":
        predictions.print_json(answer)
    elif form == "yaml":
        predictions.print_yaml(answer)
    elif form == "markdown":
        print(comment.render(answer, inputs=lines), end="")
    elif form == "csv":
        _print_csv(answer, lines)
    else:
        _print_table(answer, lines)


def _print_csv(answer: Mapping[str, Any], lines: Sequence[str]) -> None:
    from podpower.difference import tables  # noqa: PLC0415
    from podpower.specs.quoting import cell  # noqa: PLC0415

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(tables.columns_of(answer))
    # Names are of manifests; the signed figures are texts of our own.
    writer.writerows([*map(cell, row[:2]), *row[2:-1], cell(row[-1])] for row in tables.rows_of(answer))
    for line in lines:
        output.note(line)


def _print_table(answer: Mapping[str, Any], lines: Sequence[str]) -> None:
    from podpower.difference import tables  # noqa: PLC0415

    columns = tables.columns_of(answer)
    if answer["changes"]:
        output.table(columns, tables.rows_of(answer), right=columns[2:-2], total=tables.total_row(answer))
    below = (tables.sentence(answer), *tables.why_unknown(answer), *tables.basis_lines(answer))
    for line in (*below, *(lines if answer["changes"] else ())):
        output.line(line)
