"""All commands, in the order of the workflow."""

from collections.abc import Sequence
from importlib import import_module
from typing import Final

from podpower import __version__
from podpower.cli.arguments import Parser, add_debug

_DESCRIPTION = "Predict the power of a Kubernetes workload before it runs."
_EPILOG = """\
workflow:
  doctor                       check cluster, Prometheus and Kepler
  simulate, record             record a simulated or a live cluster
  collect                      write workloads (InferenceRequest) as NDJSON, from files or a live cluster
  encode fit, encode transform write features.parquet
  label                        write labels.parquet: watts and joules of each step, from energy counters
  join, train                  write train_rows.parquet and knn_energy.joblib
  diff                         show what a change of manifests will draw
  comment                      post it on a pull or merge request
  predict, evaluate, serve     predict manifests, evaluate the model, serve the HTTP API
  keys new                     make an API key of the prediction service
  clusters                     list the clusters of the platform, their freshness and gaps
  top                          list what draws most
  purge                        remove a namespace's data from every store
  webhook-certificates         issue and renew the certificates of the admission webhook

`podpower COMMAND --help` shows the options of a command with examples. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""
COMMANDS: Final = (
    "doctor",
    "simulate",
    "record",
    "collect",
    "encode",
    "label",
    "join",
    "train",
    "predict",
    "diff",
    "comment",
    "evaluate",
    "serve",
    "keys",
    "models",
    "clusters",
    "top",
    "purge",
    "completion",
    "demo",
    "up",
    "webhook-certificates",
)


def build_parser(argv: Sequence[str] = ()) -> Parser:
    """Return the parser of the command that `argv` begins with, of all commands where it begins with none.

    The modules of other commands are not imported, and those of commands import nothing heavy before they run.
    """
    parser = Parser(prog="podpower", description=_DESCRIPTION, epilog=_EPILOG)
    parser.set_defaults(build_parser=build_parser)  # `podpower completion` describes all commands
    parser.add_argument("--version", action="version", version=f"podpower {__version__}")
    add_debug(parser, default=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for name in argv[:1] if argv and argv[0] in COMMANDS else COMMANDS:
        import_module(f"podpower.cli.{name.replace('-', '_')}").add(commands)
    return parser
