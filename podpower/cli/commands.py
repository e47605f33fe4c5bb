"""Every command, in the order of the data's way."""

from podpower import __version__
from podpower.cli import (
    collect,
    demo,
    doctor,
    encode,
    evaluate,
    join,
    label,
    models,
    predict,
    record,
    serve,
    simulate,
    train,
    up,
)
from podpower.cli.arguments import Parser, add_debug

_DESCRIPTION = "Know what a Kubernetes workload will draw before it runs."
_EPILOG = """\
the way of the data:
  doctor                       is there everything in a cluster that labels need?
  simulate, record             a recording of a cluster that never was, or of a live one
  collect                      workloads (InferenceRequest) as NDJSON, from files or a live cluster
  encode fit, encode transform features.parquet
  label                        labels.parquet: watts and joules a step, from energy counters
  join, train                  train_rows.parquet, knn_energy.joblib
  predict, evaluate, serve     watts for a manifest; how good they are; the HTTP API

`podpower COMMAND --help` shows the options of a command with examples. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""
_COMMANDS = (doctor, simulate, record, collect, encode, label, join, train, predict, evaluate, serve, models, demo, up)


def build_parser() -> Parser:
    """The parser of every command. Command modules import nothing heavy before they run."""
    parser = Parser(prog="podpower", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"podpower {__version__}")
    add_debug(parser, default=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for module in _COMMANDS:
        module.add(commands)
    return parser
