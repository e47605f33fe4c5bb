"""Options of usage, scope, price and carbon, shared by `predict`, `diff`, `top` and the kubectl plugin."""

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from podpower.cli import output
from podpower.cli.arguments import Parser, UsageError, bounded
from podpower.errors import InvalidInput, Unavailable
from podpower.specs.quoting import quoted

if TYPE_CHECKING:
    from podpower.impact.assessment import Inputs
    from podpower.impact.scope import Idle
    from podpower.impact.thresholds import Threshold
    from podpower.impact.usage import Usage
    from podpower.specs.selection import Workloads


def add_impact(parser: Parser, *, prometheus: bool = False) -> None:
    """Add the options; `prometheus` adds the one that measures idle watts."""
    group = parser.add_argument_group("cost, carbon and scope")
    group.add_argument("--price", type=bounded(1e6), metavar="PER_KWH", help="price of a kWh: adds the cost of a month")
    group.add_argument("--currency", metavar="CODE", help="of the price (default EUR)")
    group.add_argument(
        "--pue",
        type=bounded(10.0, least=1.0),
        metavar="N",
        help="power usage effectiveness of the data centre (default 1)",
    )
    group.add_argument(
        "--carbon", metavar="G_PER_KWH|FILE", help="carbon intensity in g CO2e/kWh, or a CSV of it by hour: adds CO2e"
    )
    group.add_argument(
        "--scope",
        choices=("dynamic", "total"),
        help="energy of the workloads themselves, or with their share of the nodes' idle energy (default dynamic)",
    )
    group.add_argument(
        "--idle-w-per-vcpu", type=bounded(1000.0), metavar="W", help="idle watts of a vCPU, where none is measured"
    )
    if prometheus:
        group.add_argument(
            "--prom", metavar="URL", help="Prometheus that measures idle watts (default: PODPOWER_PROMETHEUS_URL)"
        )
    group.add_argument("--usage", metavar="FILE", help="hours a month, load and replicas of workloads (YAML)")


def _csv_of_carbon(text: str) -> str:
    """Return the path of a CSV file. InvalidInput for a number with a unit or a comma, which is no file either."""
    if not Path(text).exists():
        raise InvalidInput(
            f"--carbon {quoted(text)!r} is neither a number of g CO2e/kWh, e.g. 380, nor a CSV file that exists"
        )
    return text


def inputs_of(arguments: argparse.Namespace) -> "Inputs":
    """Return what the options give. Idle watts are measured where a Prometheus is known, else those of the options."""
    from podpower.impact.assessment import Inputs  # noqa: PLC0415
    from podpower.impact.carbon import parse_carbon, read_carbon  # noqa: PLC0415
    from podpower.impact.rates import DEFAULT_CURRENCY, Rates, parse_currency  # noqa: PLC0415
    from podpower.impact.scope import NO_IDLE, Idle  # noqa: PLC0415
    from podpower.impact.usage import read_usage  # noqa: PLC0415

    carbon = None
    if arguments.carbon is not None:
        carbon = parse_carbon(arguments.carbon) or read_carbon(_csv_of_carbon(arguments.carbon))
    rates = Rates(
        price_per_kwh=arguments.price,
        currency=parse_currency(arguments.currency) if arguments.currency else DEFAULT_CURRENCY,
        pue=1.0 if arguments.pue is None else arguments.pue,
        carbon=carbon,
    )
    idle = None
    if arguments.scope == "total":
        idle = _measured_idle(arguments)
        if idle is None and arguments.idle_w_per_vcpu is not None:
            idle = Idle(w_per_vcpu=arguments.idle_w_per_vcpu, source="given")
        idle = idle or _idle_of_the_fleet(arguments)
        if idle is None:
            raise UsageError(NO_IDLE)
    usage = read_usage(arguments.usage) if arguments.usage else None
    return Inputs(scope=arguments.scope or "dynamic", idle=idle, rates=rates, usage=usage)


def _measured_idle(arguments: argparse.Namespace) -> "Idle | None":
    """Return the measured idle watts of a vCPU; None where no Prometheus is known, or it has no idle counter."""
    if not (getattr(arguments, "prom", None) or arguments.settings.prometheus.url):
        return None
    from podpower.impact.scope import Idle  # noqa: PLC0415
    from podpower.labels.now import measured_idle  # noqa: PLC0415
    from podpower.sources.prometheus.endpoint import endpoint_from  # noqa: PLC0415

    endpoint = endpoint_from(arguments.settings.prometheus, url=getattr(arguments, "prom", None))
    if endpoint is None:
        return None
    try:
        found = measured_idle(endpoint, note=output.note)
    except Unavailable as error:
        if arguments.idle_w_per_vcpu is None:
            raise
        output.note(f"note: idle watts are not measured ({error})")
        return None
    if found is None:
        output.note("note: Prometheus has no idle counter of nodes, or no number of their CPUs")
        return None
    return Idle(w_per_vcpu=found[0], source=found[1])


def _idle_of_the_fleet(arguments: argparse.Namespace) -> "Idle | None":
    """Return the idle watts in the fleet summary, which the platform measures; None where there are none."""
    from podpower.fleet.summary import idle_of, read_summary  # noqa: PLC0415
    from podpower.impact.scope import Idle  # noqa: PLC0415

    store = getattr(arguments, "store", None) or arguments.settings.places.model_store
    found = idle_of(read_summary(store), getattr(arguments, "cluster", None))
    return None if found is None else Idle(w_per_vcpu=found[0], source=f"{found[1]}; of the fleet summary")


def note_unused(usage: "Usage | None", workloads: "Workloads") -> None:
    """Print the entries of a usage file that match no workload: most are misspelt."""
    if usage is not None and (line := usage.unused_line(workloads.requests)):
        output.note(f"note: {line}")


def warn_of_surprises(workloads: "Workloads") -> None:
    """Print up to ten warnings of requests that probably lack a suffix."""
    from podpower.impact.surprises import surprises  # noqa: PLC0415

    found = (f"{r.namespace}/{r.workload_name}: {text}" for r in workloads.requests for text in surprises(r))
    for line in itertools.islice(found, 10):
        output.note(f"warning: {line}")


def threshold(text: str, *, share: bool = False) -> "Threshold":
    """Return the threshold that an option gives, for argparse."""
    from podpower.impact.thresholds import parse_threshold  # noqa: PLC0415

    try:
        return parse_threshold(text, share=share)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def check_currency(of: "Threshold", inputs: "Inputs") -> None:
    """Raise UsageError for a threshold in money without a price in that currency."""
    if of.what != "cost":
        return
    if inputs.rates.price_per_kwh is None:
        raise UsageError(f"a threshold of {of.text} needs the price of a kWh: give --price")
    if of.currency != inputs.rates.currency:
        raise UsageError(f"a threshold of {of.text}, and the price is in {inputs.rates.currency}: give --currency")
