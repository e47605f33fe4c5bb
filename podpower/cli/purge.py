"""`podpower purge`: remove a namespace's data from every store."""

import argparse
import contextlib
import sys

from podpower.cli import output
from podpower.cli.arguments import Commands, UsageError, add_command
from podpower.cli.homes import Home, alone_at, home_at
from podpower.errors import InvalidInput, PodpowerError
from podpower.settings import DEFAULT_HOME, HOME, Settings

_DETAILS = """\
Removes the namespace from the journal, tables, pages of evaluations, model store (the served version is replaced by one
without it; others that learned from it or name it are removed), quarantine and fleet summary. Stop `podpower up`
before, and leave a namespace that still exists out with PODPOWER_EXCLUDE_NAMESPACES: otherwise it is observed again.
Prometheus keeps its samples: hours that are made again have their labels again, until they are deleted there too.
A purge that was killed is finished by running it again. Dagster's history can name workloads until its runs are deleted
(PODPOWER_KEEP_RUNS_DAYS); backups and copies elsewhere are yours to clean.

  podpower purge --namespace shop --dry-run
  podpower purge --namespace shop --cluster eu-2 --yes
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "purge", run, summary="Remove a namespace's data from every store, and print what.", details=_DETAILS
    )
    parser.add_argument("--namespace", required=True, metavar="NAME", help="the namespace to remove")
    parser.add_argument("--cluster", metavar="NAME", help="only that of this cluster (default: of every cluster)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed, and change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> int:
    """Remove the namespace and print a table of what was removed; exit code 1 where something could not be."""
    from podpower.clusters import cluster_of  # noqa: PLC0415
    from podpower.retention.namespaces import purge_namespace  # noqa: PLC0415  # polars is an extra
    from podpower.retention.scope import Scope  # noqa: PLC0415

    scope = Scope(namespace=arguments.namespace, cluster=arguments.cluster)
    if arguments.cluster and arguments.settings.places.clusters_file:
        cluster_of(arguments.settings, arguments.cluster)
    home = _existing_home(arguments.settings)
    if not arguments.dry_run and not arguments.yes:
        _ask(scope.namespace)
    problems: list[str] = []
    with contextlib.nullcontext() if arguments.dry_run else alone_at(home):
        found = list(purge_namespace(arguments.settings, scope, dry_run=arguments.dry_run, problems=problems))
    if found:
        rows = [(one.store, one.place, f"{one.count:,}", one.unit) for one in found]
        title = f"{'to be removed' if arguments.dry_run else 'removed'} of namespace {scope.namespace}"
        output.table(("store", "place", "removed", ""), rows, title=title, right=("removed",))
    else:
        output.note(f"no store has anything of namespace {scope.namespace}")
    if any(one.store == "reports" for one in found) and not arguments.dry_run:
        output.note("materialize model_evaluation of these days again to have their pages without it")
    for problem in problems[1:]:
        output.note(f"error: {problem}")
    if problems:
        raise PodpowerError(f"{problems[0]}; run the purge again when this is mended")
    return 0


def _existing_home(settings: Settings) -> Home:
    """Return the home whose data are removed. InvalidInput where it does not exist and no store is elsewhere."""
    from podpower.io.places import is_url  # noqa: PLC0415  # slow to import, for help

    home, places = home_at(settings.places.home or DEFAULT_HOME), settings.places
    elsewhere = places.given_tables or places.given_model_store or places.given_recording or places.clusters_file
    if not elsewhere and not is_url(home.root) and not home.local.is_dir():
        raise InvalidInput(f"there is no home at {home.local}: name it with {HOME}")
    return home


def _ask(namespace: str) -> None:
    """Return when a person confirms. UsageError otherwise, and where nobody can."""
    if not sys.stdin.isatty():
        raise UsageError("nothing was removed: give --yes, or --dry-run to see what would be")
    if input(f"Remove all data of namespace {namespace}? Type its name: ").strip() != namespace:
        raise UsageError("nothing was removed")
