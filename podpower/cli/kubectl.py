"""`kubectl podpower`: predict, diff, top and explain on the objects of a cluster. kubectl finds `kubectl-podpower`."""

import argparse
import sys
from collections.abc import Sequence

from podpower.cli import diff, live, predict, top
from podpower.cli.arguments import Commands, Parser, UsageError, add_command, add_debug
from podpower.cli.assessing import add_assessing, bounded_inputs, options_of
from podpower.cli.connections import add_cluster_access, open_cluster
from podpower.cli.impact import threshold
from podpower.cli.predictions import FORMATS
from podpower.errors import InvalidInput
from podpower.kubernetes.kinds import KINDS, WORKLOADS, Kind, parse_kind

_DESCRIPTION = "Predict the power of the workloads of a cluster, and of changes to them."


def build_parser() -> Parser:
    """Return the parser of the plugin."""
    parser = Parser(prog="kubectl podpower", description=_DESCRIPTION)
    add_debug(parser, default=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    _add_predict(commands, "predict", summary="Predict what live objects, or files, draw.")
    _add_predict(commands, "explain", summary="Predict live objects, and list the measured workloads behind each.")
    _add_diff(commands)
    _add_top(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, `sys.argv` unless given, and return its exit code."""
    from podpower.cli import run_parser  # it imports the other commands  # noqa: PLC0415

    return run_parser(build_parser, argv)


def _add_predict(commands: Commands, name: str, *, summary: str) -> None:
    parser = add_command(
        commands,
        name,
        _explain if name == "explain" else _predict,
        summary=summary,
        details=f"""\
  kubectl podpower {name} deployment/web -n shop
  kubectl podpower {name} -A -l team=payments --price 0.30
""",
    )
    parser.add_argument("objects", nargs="*", metavar="TYPE/NAME", help="objects; all workloads without any")
    if name == "predict":
        parser.add_argument(
            "-f", dest="files", nargs="+", default=[], metavar="PATH", help="manifests in place of objects"
        )
    _add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="in all namespaces")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="only objects with these labels, e.g. app=web")
    parser.add_argument("-o", "--output", "--format", dest="format", choices=FORMATS, default="table")
    parser.add_argument("--fail-above", action="append", default=[], type=threshold, metavar="500W|100kWh|50EUR")
    add_assessing(parser)
    add_cluster_access(parser)


def _add_diff(commands: Commands) -> None:
    parser = add_command(
        commands,
        "diff",
        _diff,
        summary="Show what manifests would change in the cluster.",
        details="  kubectl podpower diff -f deploy/ --fail-increase 5%\n",
    )
    parser.add_argument("-f", dest="files", required=True, nargs="+", metavar="PATH", help="manifests, folders or -")
    _add_namespace(parser)
    diff.add_diff_options(parser)
    add_cluster_access(parser)


def _add_top(commands: Commands) -> None:
    parser = add_command(commands, "top", top.run, summary="List the workloads or namespaces that draw most.")
    _add_namespace(parser)
    top.add_top_options(parser)


def _add_namespace(parser: Parser) -> None:
    parser.add_argument("-n", "--namespace", metavar="NS", help="namespace (default: that of the context)")


def _explain(arguments: argparse.Namespace) -> int:
    return _predict(arguments, explain=True)


def _predict(arguments: argparse.Namespace, *, explain: bool = False) -> int:
    """Predict live objects, or files."""
    arguments.explain = explain
    given = bounded_inputs(arguments, *arguments.fail_above)
    files = getattr(arguments, "files", [])
    if files:
        return predict.predict_files(arguments, files, given)
    workloads = live.workloads_from(_objects(arguments), options_of(arguments))
    if not workloads.requests and not workloads.errors:
        raise InvalidInput(f"no workload in {_where(arguments)}: give -n NS, -A, or TYPE/NAME")
    return predict.predict_workloads(arguments, workloads, given, [_where(arguments)])


def _diff(arguments: argparse.Namespace) -> int:
    """Compare files with the live objects that they name."""
    arguments.sides, arguments.live = arguments.files, True
    if len(arguments.files) > 1:
        raise UsageError("name one file or folder")
    arguments.namespace = arguments.namespace or _context_namespace(arguments)
    return diff.run(arguments)


def _objects(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Return the live objects that are named, else all workloads."""
    access = open_cluster(arguments)
    namespace = arguments.namespace or _context_namespace(arguments)
    if not arguments.objects:
        everywhere = None if arguments.all_namespaces else namespace
        return live.listed(access, WORKLOADS, namespace=everywhere, selector=arguments.selector)
    found = []
    for kind, name in _named(arguments.objects):
        if name is None:
            everywhere = None if arguments.all_namespaces else namespace
            found += live.listed(access, [kind], namespace=everywhere, selector=arguments.selector)
            continue
        one = live.got(access, kind, namespace=namespace, names=[name])
        if not one:
            raise InvalidInput(f"{kind}/{name} is not in namespace {namespace}: give -n NS")
        found += one
    return found


def _named(words: Sequence[str]) -> list[tuple[Kind, str | None]]:
    """Return kinds and names of words such as `deployment/web`, or `deployment web`, or `deployments`."""
    if len(words) > 1 and not any("/" in word for word in words):
        return [(_kind(words[0]), name) for name in words[1:]]
    found: list[tuple[Kind, str | None]] = []
    for word in words:
        kind, _, name = word.partition("/")
        found.append((_kind(kind), name or None))
    return found


def _kind(word: str) -> Kind:
    short = {kind.short: kind for kind in KINDS.values() if kind.short}
    return short.get(word.lower()) or parse_kind(word)


def _context_namespace(arguments: argparse.Namespace) -> str:
    """Return the namespace of the kubeconfig's context, else "default"."""
    from podpower.cli.connections import config  # noqa: PLC0415
    from podpower.sources.kubernetes.access import context_namespace  # noqa: PLC0415

    return context_namespace(config(arguments)) or "default"


def _where(arguments: argparse.Namespace) -> str:
    if arguments.all_namespaces:
        return "all namespaces"
    return f"namespace {arguments.namespace or _context_namespace(arguments)}"


def script() -> None:
    """Run as the program `kubectl-podpower`."""
    sys.exit(main())
