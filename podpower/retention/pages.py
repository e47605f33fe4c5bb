"""Purge of pages of evaluations: those that name a namespace."""

from collections.abc import Iterator

from podpower.errors import Refused
from podpower.evaluation.pages import read_page
from podpower.io.places import AnyPath, place, reaching
from podpower.retention.ages import files_of
from podpower.retention.scope import Purged, Scope


def purge_pages(root: AnyPath, scope: Scope, *, dry_run: bool) -> Iterator[Purged]:
    """Remove the pages below `root` that name the namespace, and damaged ones; yield what was removed."""
    folder = place(root)
    for path, _ in files_of(folder):
        if path.suffix == ".html" and _shows(path, scope):
            if not dry_run:
                with reaching(path):
                    path.unlink(missing_ok=True)
            yield Purged(store="reports", place=str(path.relative_to(folder)), count=1, unit="files")


def _shows(path: AnyPath, scope: Scope) -> bool:
    try:
        return scope.is_shown_in(read_page(path).decode(errors="replace"))
    except Refused:
        return True
