"""The order of the file of clusters: the first one owns the journal and the tables without a name in front."""

from collections.abc import Sequence

from podpower.clusters import Cluster
from podpower.errors import InvalidInput
from podpower.sources.journal.files import JournalFiles


def check_first(clusters: Sequence[Cluster]) -> None:
    """Return if the first cluster can go on with the plain journal. InvalidInput where that journal is of another
    cluster and the first one of the file is not that cluster under a new name: the file was reordered, or its first
    entry taken out, and two histories would be mixed.
    """
    first, others = clusters[0], {cluster.name for cluster in clusters[1:]}
    if first.entry is None or first.entry.recording:
        return
    meta = JournalFiles(first.place).meta()
    if meta is None or meta.cluster == first.name:
        return
    own = JournalFiles(first.given.places.cluster_journal(first.name))
    if meta.cluster in others or own.meta() is not None:
        raise InvalidInput(
            f"{first.place} is the journal of cluster {meta.cluster!r}, and the file of clusters begins with "
            f"{first.name!r}: write {meta.cluster!r} first, as it was; other clusters come after it"
        )
