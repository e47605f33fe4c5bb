"""Publish the fleet summary: fold all hours, one process at a time, and never replace newer content by older."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

import polars as pl

from podpower.errors import Refused, Unavailable
from podpower.fleet.budgets import Budgets
from podpower.fleet.folding import ClusterState, fold
from podpower.fleet.summary import FleetSummary, ModelStatus, read_summary, write_summary
from podpower.io.locks import WAIT_SECONDS, lock
from podpower.io.places import AnyPath, is_local, place

_ATTEMPTS: Final = 3


def publish(
    root: AnyPath,
    hours: Callable[[], Iterable[pl.DataFrame]],
    *,
    now_s: float,
    budgets: Budgets | None = None,
    states: Mapping[str, ClusterState] | None = None,
    model: ModelStatus | None = None,
) -> tuple[FleetSummary, int]:
    """Fold the hours that `hours` reads and write the summary to the store at `root`; return it and its size in bytes.

    Hours are read after the lock is taken, so that a run for an old hour publishes the newest ones, too. An object
    store has no locks: where the summary there reaches further, hours are read again. Unavailable without any hour.
    """
    with _exclusive(root):
        for attempt in range(_ATTEMPTS):
            summary = fold(hours(), now_s=now_s, budgets=budgets, states=states, model=model)
            if summary is None:
                raise Unavailable("no hour has anything to sum up: materialize workload_specs and kepler_labels first")
            # After the last attempt, the hours that it has beyond ours were removed.
            if attempt == _ATTEMPTS - 1 or _published_until_s(root) <= summary.end_s:
                return summary, write_summary(root, summary)
    raise AssertionError("unreachable")


def _exclusive(root: AnyPath) -> AbstractContextManager[object]:
    folder = place(root)
    if not is_local(folder):
        return nullcontext()
    local = Path(str(folder))
    local.mkdir(parents=True, exist_ok=True)
    busy = f"another process publishes the fleet summary in {local}: try again"
    return lock(local / ".fleet.lock", wait_seconds=WAIT_SECONDS, busy=busy)


def _published_until_s(root: AnyPath) -> float:
    """Return the end of the published summary; 0 where there is none, or a damaged one."""
    try:
        published = read_summary(root)
    except Refused:
        return 0.0
    return published.end_s if published else 0.0
