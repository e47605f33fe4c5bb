"""The beginning that `predict`, `diff` and the kubectl plugin share: their options, figures, and the model."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from podpower.cli.arguments import Parser, count, name
from podpower.cli.impact import add_impact, check_currency, inputs_of, note_unused, warn_of_surprises
from podpower.cli.predictors import add_model, predictor_of

if TYPE_CHECKING:
    from podpower.impact.assessment import Inputs
    from podpower.impact.thresholds import Threshold
    from podpower.model.predictor import Predictor
    from podpower.specs.selection import Options, Workloads


def add_assessing(parser: Parser) -> None:
    """Add the options of the model, of reading manifests, and of cost, carbon and scope."""
    add_model(parser)
    parser.add_argument("--nodes", type=count, metavar="N", help="pods of a DaemonSet whose status has no number")
    parser.add_argument("--cluster", type=name, metavar="NAME", help="cluster of the workloads that name none")
    parser.add_argument(
        "--node-type", type=name, metavar="TYPE", help="machine type of the workloads that name none, e.g. m6g.large"
    )
    parser.add_argument(
        "--lenient", action="store_true", help="read objects with misspelt kinds or fields as if these were absent"
    )
    add_impact(parser, prometheus=True)


def options_of(arguments: argparse.Namespace) -> "Options":
    """Return how manifests are read."""
    from podpower.specs.selection import Options  # noqa: PLC0415  # heavy for help

    return Options(
        cluster=arguments.cluster, node_type=arguments.node_type, nodes=arguments.nodes, lenient=arguments.lenient
    )


def bounded_inputs(arguments: argparse.Namespace, *bounds: "Threshold") -> "Inputs":
    """Return the figures that the options give. UsageError where a threshold is in money that these do not have."""
    given = inputs_of(arguments)
    for bound in bounds:
        check_currency(bound, given)
    return given


def predictor_for(
    arguments: argparse.Namespace, given: "Inputs", workloads: "Workloads", *, beside: "Iterable[Workloads]" = ()
) -> "Predictor":
    """Return the model for workloads, and those `beside` them; print what to know about the workloads before."""
    note_unused(given.usage, workloads)
    warn_of_surprises(workloads)
    requests = [request for one in (*beside, workloads) for request in one.requests]
    return predictor_of(arguments, requests)
