"""Purge of texts beside the tables that name a namespace: pages of evaluations, and verdicts about partitions."""

from collections.abc import Iterator

from podpower.errors import Refused
from podpower.evaluation.pages import read_page
from podpower.io.files import read_bounded
from podpower.io.places import AnyPath, place, reaching
from podpower.io.set_aside import FOLDER as SET_ASIDE
from podpower.retention.ages import files_of
from podpower.retention.scope import Purged, Scope

_VERDICT = ".verdict.json"  # of podpower_assets; a partition without one is read like those of earlier versions
_MAX_VERDICT_BYTES = 1 << 20


def purge_pages(root: AnyPath, scope: Scope, *, dry_run: bool) -> Iterator[Purged]:
    """Remove the pages and verdicts below `root` that name the namespace, and damaged pages; yield what was removed."""
    folder = place(root)
    for path, _ in files_of(folder):
        if path.parent.name == SET_ASIDE:
            continue  # removed with the tables
        if (path.suffix == ".html" and _shows(path, scope)) or (path.name.endswith(_VERDICT) and _names(path, scope)):
            if not dry_run:
                with reaching(path):
                    path.unlink(missing_ok=True)
            store = "reports" if path.suffix == ".html" else "tables"
            yield Purged(store=store, place=str(path.relative_to(folder)), count=1, unit="files")


def _names(path: AnyPath, scope: Scope) -> bool:
    return scope.is_named_in(read_bounded(path, limit_bytes=_MAX_VERDICT_BYTES).decode(errors="replace"))


def _shows(path: AnyPath, scope: Scope) -> bool:
    try:
        return scope.is_shown_in(read_page(path).decode(errors="replace"))
    except Refused:
        return True
