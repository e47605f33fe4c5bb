"""Clusters without a meter: the note on their predictions."""

from collections.abc import Sequence

_MOST_NAMED = 5


def no_meter_note(cluster: str, measured: Sequence[str]) -> str:
    """Return the note on predictions for a cluster without labels in the model; `measured` are the clusters with some.

    >>> no_meter_note("edge", ["eu-1"])
    'no meter in cluster edge that the model learned from: predicted from eu-1, node types and the physical estimate'
    """
    rest = len(measured) - _MOST_NAMED
    names = [*measured[:_MOST_NAMED], *([f"{rest} more clusters"] if rest > 0 else [])]
    sources = ", ".join([*names, "node types and the physical estimate"])
    return f"no meter in cluster {cluster} that the model learned from: predicted from {sources}"
