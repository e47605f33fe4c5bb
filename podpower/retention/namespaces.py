"""Purge of a namespace from every store of a platform, in an order that lets nothing be made from it again."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from podpower.clusters import Cluster, configured_clusters
from podpower.errors import PodpowerError
from podpower.evaluation.pages import FOLDER as EVALUATIONS
from podpower.io.files import children
from podpower.io.places import place
from podpower.retention.journals import purge_journal
from podpower.retention.models import purge_models
from podpower.retention.pages import purge_pages
from podpower.retention.scope import Purged, Scope
from podpower.retention.tables import purge_tables
from podpower.settings import Settings


def purge_namespace(settings: Settings, scope: Scope, *, dry_run: bool, problems: list[str]) -> Iterator[Purged]:
    """Remove the namespace from journals, tables, pages and model store, and yield what was removed. A part that
    cannot be purged is added to `problems`, and the others are purged; with `dry_run` nothing is changed.
    """
    places, clusters = settings.places, configured_clusters(settings)
    parts: tuple[Callable[[], Iterator[Purged]], ...] = (
        *(partial(_purge_journal_of, one, scope, dry_run=dry_run, problems=problems) for one in clusters),
        lambda: _purge_removed(settings, clusters, scope, dry_run=dry_run, problems=problems),
        lambda: purge_tables(places.tables, scope, dry_run=dry_run, problems=problems),
        lambda: purge_pages(places.tables, scope, dry_run=dry_run),
        lambda: purge_pages(f"{places.model_store}/{EVALUATIONS}", scope, dry_run=dry_run),
        lambda: purge_models(places.model_store, scope, dry_run=dry_run),
    )
    for purge in parts:
        try:
            yield from purge()
        except PodpowerError as error:
            problems.append(str(error))


def _purge_journal_of(cluster: Cluster, scope: Scope, *, dry_run: bool, problems: list[str]) -> Iterator[Purged]:
    given = cluster.settings()
    for live in (True, False):
        journal = given.places.recording(live=live)
        if live or not given.places.given_recording:
            yield from purge_journal(journal, scope, name=cluster.name, dry_run=dry_run, problems=problems)


def _purge_removed(
    settings: Settings, clusters: Sequence[Cluster], scope: Scope, *, dry_run: bool, problems: list[str]
) -> Iterator[Purged]:
    """Purge the journals of clusters that are configured no longer."""
    places, configured = settings.places, {cluster.prefix for cluster in clusters}
    for folder in children(place(places.further_clusters)):
        if folder.name not in configured:
            journal = places.cluster_journal(folder.name)
            yield from purge_journal(journal, scope, name=folder.name, dry_run=dry_run, problems=problems)
