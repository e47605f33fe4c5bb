"""The order of the file of clusters: the first one owns the journal and the tables without a name in front."""

from collections.abc import Sequence

from podpower.clusters import Cluster
from podpower.errors import InvalidInput
from podpower.sources.journal.files import JournalFiles


def check_first(clusters: Sequence[Cluster]) -> None:
    """Return if the first cluster can go on with the plain journal. InvalidInput where that journal is of another
    cluster of the file: the file was reordered, and two histories would be mixed.
    """
    first, others = clusters[0], {cluster.name for cluster in clusters[1:]}
    if first.entry is None or first.entry.recording:
        return
    meta = JournalFiles(first.place).meta()
    if meta is not None and meta.cluster != first.name and meta.cluster in others:
        raise InvalidInput(
            f"{first.place} is the journal of cluster {meta.cluster!r}, and the file of clusters begins with "
            f"{first.name!r}: write {meta.cluster!r} first, as it was; new clusters come after it"
        )
