"""`podpower top`: the workloads or namespaces that draw most."""

import argparse
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from podpower.cli import output, predictions
from podpower.cli.arguments import Commands, Parser, UsageError, add_command, positive, seconds
from podpower.cli.impact import add_impact, inputs_of
from podpower.errors import InvalidInput
from podpower.impact import units

if TYPE_CHECKING:
    from podpower.fleet.summary import FleetSummary
    from podpower.fleet.top import Row
    from podpower.impact.assessment import Inputs

_SORTS = ("measured", "predicted", "kwh", "name")
_MOST_ROWS = 10
_NO_SUMMARY = "no fleet summary in {store}: `podpower up` makes it; to see what is measured now, give --live --prom URL"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "top",
        run,
        summary="List the workloads or namespaces that draw most, measured and predicted.",
        details="""\
From the fleet summary, which the platform makes every 15 minutes at most; --live measures the last five minutes with
Prometheus. kWh/month is the energy of 730 hours like those measured since the first run, of the last 30 days; "~" marks
one that is only predicted.

  podpower top
  podpower top --by namespace --price 0.30 --carbon 380 --format csv
  podpower top --live --prom http://localhost:9090 --watch
""",
    )
    add_top_options(parser)
    parser.add_argument("-n", "--namespace", metavar="NS", help="only this namespace")


def add_top_options(parser: Parser) -> None:
    """Add the options that the kubectl plugin has, too."""
    parser.add_argument("by_word", nargs="?", metavar="BY", help="workloads or namespaces; the same as --by")
    parser.add_argument("--by", choices=("workload", "namespace"), default="workload", help="(default %(default)s)")
    parser.add_argument("--sort", choices=_SORTS, default="measured", help="(default %(default)s)")
    parser.add_argument(
        "--basis", choices=("seen", "similar", "prior"), help="only workloads whose prediction rests on this"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help=f"rows (default {_MOST_ROWS} in the table, all as JSON and CSV)"
    )
    parser.add_argument("--all", action="store_true", help="all rows")
    parser.add_argument("--cluster", metavar="NAME", help="only this cluster")
    parser.add_argument(
        "-o", "--format", choices=("table", "json", "csv"), default="table", help="(default %(default)s)"
    )
    parser.add_argument(
        "--watch", nargs="?", type=seconds, const=10.0, metavar="SPAN", help="repeat until Ctrl-C (default every 10s)"
    )
    parser.add_argument("--live", action="store_true", help="measure now, with Prometheus")
    parser.add_argument("--prom", metavar="URL", help="Prometheus of --live (default: PODPOWER_PROMETHEUS_URL)")
    parser.add_argument("--match", action="append", metavar="MATCHER", help="label matcher added to every query")
    add_impact(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the rows, once or until Ctrl-C."""
    if arguments.by_word:
        words = {"workloads": "workload", "namespaces": "namespace", "workload": "workload", "namespace": "namespace"}
        if arguments.by_word not in words:
            raise UsageError(f"{arguments.by_word}: list workloads or namespaces")
        arguments.by = words[arguments.by_word]
    if arguments.basis and arguments.by == "namespace":
        raise UsageError("a namespace has no basis of its own: list workloads")
    if arguments.scope == "total" or arguments.usage:
        raise UsageError("top shows what is measured: --scope total and --usage do not fit")
    given = inputs_of(arguments)
    while True:
        rows, notes = _rows(arguments)
        if arguments.watch is not None and arguments.format == "table" and sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        _show(arguments, rows, given, notes)
        if arguments.watch is None:
            return 0
        sys.stdout.flush()
        time.sleep(arguments.watch)


def _rows(arguments: argparse.Namespace) -> "tuple[list[Row], list[str]]":
    from podpower.fleet import top  # noqa: PLC0415
    from podpower.fleet.summary import read_summary  # noqa: PLC0415

    summary = read_summary(arguments.settings.places.model_store)
    if arguments.live:
        rows, notes = _measured_now(arguments, summary), ["measured over the last five minutes"]
    elif summary is None:
        raise InvalidInput(_NO_SUMMARY.format(store=arguments.settings.places.model_store))
    else:
        rows, notes = top.rows_of(summary, by=arguments.by), [f"fleet summary of {summary.written_at}"]
    rows = [row for row in rows if arguments.cluster in {None, row.cluster}]
    rows = [row for row in rows if arguments.namespace in {None, row.namespace}]
    rows = [row for row in rows if arguments.basis in {None, row.basis}]
    return top.ordered(rows, sort=arguments.sort), notes


def _measured_now(arguments: argparse.Namespace, summary: "FleetSummary | None") -> "list[Row]":
    from podpower.fleet.top import live_rows  # noqa: PLC0415
    from podpower.labels.now import watts_now  # noqa: PLC0415
    from podpower.sources.prometheus.endpoint import endpoint_from  # noqa: PLC0415
    from podpower.sources.prometheus.instant import Instant  # noqa: PLC0415

    endpoint = endpoint_from(arguments.settings.prometheus, url=arguments.prom, match=arguments.match)
    if endpoint is None:
        raise UsageError("--live needs a Prometheus: give --prom URL or set PODPOWER_PROMETHEUS_URL")
    with Instant(endpoint, note=output.note) as source:
        found = watts_now(source)
    measured = {name: (power.watts, power.pods) for name, power in found.items()}
    return live_rows(measured, summary, by=arguments.by, cluster=arguments.cluster)


def _show(arguments: argparse.Namespace, rows: "Sequence[Row]", given: "Inputs", notes: Sequence[str]) -> None:
    most = arguments.limit or (_MOST_ROWS if arguments.format == "table" else None)
    shown = rows if arguments.all else rows[:most]
    rates = given.rates
    if arguments.format == "json":
        predictions.print_json({"rows": [_data(row, given) for row in shown], "inputs": given.described()})
        return
    columns = ["cluster", "namespace" if arguments.by == "namespace" else "workload", "kind", "measured", "predicted"]
    columns += ["kWh/month", *(["cost/month"] if rates.price_per_kwh is not None else [])]
    columns += [*(["CO2e/month"] if rates.carbon is not None else []), "pods", "budget", "basis"]
    if arguments.format == "csv":
        data = [_data(row, given) for row in shown]
        if data:
            from podpower.specs.quoting import cell  # noqa: PLC0415  # this format only

            writer = csv.DictWriter(sys.stdout, fieldnames=list(data[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: cell(value) for name, value in one.items()} for one in data)
        for line in (*notes, *given.lines()):
            output.note(line)
        return
    # The name first: on a narrow terminal it has a line of its own.
    order = [1, 2, 0, *range(3, len(columns))]
    left_out = {"kind", "basis"} if arguments.by == "namespace" else {"budget"}
    if all(row.budget_w is None for row in rows):
        left_out.add("budget")
    order = [place for place in order if columns[place] not in left_out]
    table = [_cells(row, given) for row in shown]
    texts = {"cluster", "namespace", "workload", "kind", "basis"}
    names = [columns[place] for place in order]
    output.table(names, [[row[place] for place in order] for row in table], right=[n for n in names if n not in texts])
    if not rows:
        print("nothing matches" if _narrowed(arguments) else "nothing runs")
    if len(shown) < len(rows):
        print(f"and {len(rows) - len(shown)} more: --all, --limit N")
    for line in (*notes, *given.lines()):
        output.line(line)


def _narrowed(arguments: argparse.Namespace) -> bool:
    return any((arguments.cluster, arguments.namespace, arguments.basis))


def _data(row: "Row", given: "Inputs") -> Mapping[str, Any]:
    import msgspec  # noqa: PLC0415

    rates = given.rates
    priced: dict[str, Any] = {}
    if rates.price_per_kwh is not None:
        priced |= {"cost_month": rates.cost(row.kwh_month), "currency": rates.currency}
    if rates.carbon is not None:
        priced["co2e_kg_month"] = rates.co2e_kg(row.kwh_month)
    return {**msgspec.structs.asdict(row), **priced}


def _cells(row: "Row", given: "Inputs") -> list[str]:
    rates = given.rates
    kwh = units.kwh(row.kwh_month)
    cells = [
        row.cluster or units.UNKNOWN,
        row.namespace if row.workload_name is None else f"{row.namespace}/{row.workload_name}",
        row.workload_kind or "",
        units.watts(row.measured_w),
        units.watts(row.predicted_w),
        kwh if row.measured or row.kwh_month is None else f"~{kwh}",
    ]
    cells += [rates.money(rates.cost(row.kwh_month))] if rates.price_per_kwh is not None else []
    cells += [units.co2e(rates.co2e_kg(row.kwh_month))] if rates.carbon is not None else []
    pods = units.UNKNOWN if row.pods is None else f"{row.pods:.3g}"
    over = row.budget_w is not None and (row.measured_w or row.predicted_w or 0.0) > row.budget_w
    budget = units.watts(row.budget_w) + (" over" if over else "")
    return [*cells, pods, budget, row.basis or ""]
