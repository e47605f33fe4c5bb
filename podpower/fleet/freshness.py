"""Freshness of a cluster in words: how long ago it was observed and labelled. Imports nothing heavy."""

# The collector writes every few seconds; labels of an hour are made some minutes after its end.
OBSERVED_WITHIN_S, LABELLED_WITHIN_S = 600.0, 3 * 3600.0


def stale(reached_s: float | None, last_label_s: float | None, *, metered: bool | None, now_s: float) -> list[str]:
    """Return a sentence for each thing that is older than it should be."""
    found = []
    if reached_s is None:
        found.append("not observed yet")
    elif now_s - reached_s > OBSERVED_WITHIN_S:
        found.append(f"last observed {ago(now_s - reached_s)} ago")
    if metered is False:
        return found  # without a meter there are no labels to wait for
    if last_label_s is None:
        found.append("not labelled yet")
    elif now_s - last_label_s > LABELLED_WITHIN_S:
        found.append(f"last labelled {ago(now_s - last_label_s)} ago")
    return found


def ago(seconds: float) -> str:
    """Return a duration in its largest unit.

    >>> [ago(seconds) for seconds in (-3.0, 42.0, 150.0, 7300.0, 200_000.0)]
    ['0 s', '42 s', '2 min', '2 h', '2 d']
    """
    for length_s, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
