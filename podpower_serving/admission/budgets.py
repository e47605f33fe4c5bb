"""Budgets of namespaces: the watts that a namespace has with what is being admitted, and its budget.

The watts are those of the fleet summary plus what was admitted after the time that it shows. A workload that is
admitted again replaces its own share, also the one within the summary. Deleted workloads leave with the next summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from podpower.fleet.budgets import Budgets
from podpower.fleet.summary import ClusterPower, FleetSummary
from podpower.hours import HOUR_S

MOST_SHARES: Final = 1000  # of one namespace; older ones are kept as a sum
_EQUAL: Final = 1e-6  # of watts: less is no increase

Key = tuple[str, str]  # kind and name


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The figures of one cluster in the fleet summary: watts and budgets by namespace, and watts by workload.

    `until_s` is the end of the time that the watts are of, `written_s` when they were published.
    """

    until_s: float = 0.0
    written_s: float = 0.0
    watts: Mapping[str, float] = field(default_factory=dict)
    budgets: Mapping[str, float] = field(default_factory=dict)
    workloads: Mapping[tuple[str, Key], float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A workload that is being admitted, with its watts. `old_watts` are those of its former spec, None where it is
    new; `created_s` is when it was created.
    """

    namespace: str
    key: Key
    watts: float
    old_watts: float | None = None
    created_s: float | None = None

    @property
    def grows(self) -> bool:
        """Return True where it will draw more than before."""
        return self.old_watts is None or self.watts > self.old_watts * (1 + _EQUAL)


@dataclass(frozen=True, kw_only=True)
class Use:
    """Watts of a namespace with an admitted workload, and its budget. `known` is False where no fresh summary shows
    what else runs there.
    """

    watts: float
    budget_w: float
    known: bool


@dataclass(frozen=True, kw_only=True)
class _Share:
    """Watts of an admitted workload, of which `within_w` are in the summary."""

    watts: float
    within_w: float
    at_s: float


class Ledger:
    """Shares of the namespaces that have a budget, since the hour of the summary. For one thread.

    Each process has its own: what another replica admits counts from the next summary on.
    """

    def __init__(self, *, cluster: str | None, fresh_seconds: float) -> None:
        """Rely on no summary older than `fresh_seconds`. Without `cluster`, the only one of the summary counts."""
        self._cluster, self._fresh_seconds = cluster, fresh_seconds
        self._of_file, self._fleet = Budgets(), Fleet()
        self._shares: dict[str, dict[Key, _Share]] = {}
        self._rest: dict[str, _Share] = {}

    def replace(self, of_file: Budgets, fleet: Fleet) -> None:
        """Take over newer budgets and watts, and forget the shares that these contain."""
        self._of_file, self._fleet = of_file, fleet
        for namespace in list(self._shares):
            kept = {}
            if self.budget_w(namespace) is not None:
                kept = {key: one for key, one in self._shares[namespace].items() if one.at_s > fleet.until_s}
            self._shares[namespace] = kept
            if not kept:
                del self._shares[namespace]
        self._rest = {name: one for name, one in self._rest.items() if one.at_s > fleet.until_s}

    def budget_w(self, namespace: str) -> float | None:
        """Return the budget of a namespace, None where it has none."""
        return self._of_file.of(self._cluster or "", namespace, annotated_w=self._fleet.budgets.get(namespace))[0]

    def use(self, admitted: Admitted, *, budget_w: float, now_s: float) -> Use:
        """Return what the namespace would draw with a workload."""
        namespace = admitted.namespace
        others = self._fleet.watts.get(namespace, 0.0)
        for key, share in self._shares.get(namespace, {}).items():
            if key != admitted.key:
                others += share.watts - self._within(namespace, key, share.within_w)
        if namespace in self._rest:
            others += self._rest[namespace].watts
        within_w = self._own_within(admitted)
        known = now_s - self._fleet.written_s <= self._fresh_seconds
        return Use(watts=max(0.0, others - within_w) + admitted.watts, budget_w=budget_w, known=known)

    def admit(self, admitted: Admitted, *, now_s: float) -> None:
        """Count a workload from now on."""
        shares = self._shares.setdefault(admitted.namespace, {})
        share = _Share(watts=admitted.watts, within_w=self._own_within(admitted), at_s=now_s)
        shares.pop(admitted.key, None)  # the newest last
        shares[admitted.key] = share
        if len(shares) > MOST_SHARES:
            key = next(iter(shares))
            oldest = shares.pop(key)
            rest = self._rest.get(admitted.namespace, _Share(watts=0.0, within_w=0.0, at_s=0.0))
            watts = rest.watts + oldest.watts - self._within(admitted.namespace, key, oldest.within_w)
            self._rest[admitted.namespace] = replace(rest, watts=watts, at_s=max(rest.at_s, oldest.at_s))

    def _own_within(self, admitted: Admitted) -> float:
        """Return the watts of the summary that are the workload's own."""
        share = self._shares.get(admitted.namespace, {}).get(admitted.key)
        if share is not None:
            return self._within(admitted.namespace, admitted.key, share.within_w)
        before = admitted.old_watts is not None and (admitted.created_s or 0.0) < self._fleet.until_s
        return self._within(admitted.namespace, admitted.key, (admitted.old_watts or 0.0) if before else 0.0)

    def _within(self, namespace: str, key: Key, unlisted_w: float) -> float:
        """Return the watts that the summary lists of a workload; of one that it does not list, `unlisted_w`."""
        return self._fleet.workloads.get((namespace, key), unlisted_w)


def fleet_of(summary: FleetSummary, *, cluster: str | None, written_s: float) -> Fleet:
    """Return what a summary shows of a cluster; without a name, of the only configured one. Nothing where there are
    several.
    """
    found = [one for one in summary.clusters if (one.configured if cluster is None else one.cluster == cluster)]
    if len(found) != 1:
        return Fleet()
    name = found[0].cluster
    namespaces = [one for one in summary.namespaces if one.cluster == name]
    return Fleet(
        until_s=_until_s(found[0], written_s=written_s),
        written_s=written_s,
        watts={one.namespace: one.predicted_w for one in namespaces if one.predicted_w is not None},
        budgets={one.namespace: one.budget_w for one in namespaces if one.budget_w is not None},
        workloads={
            (one.namespace, (one.workload_kind, one.workload_name)): one.predicted_w
            for one in summary.workloads
            if one.cluster == name and one.predicted_w is not None
        },
    )


def _until_s(cluster: ClusterPower, *, written_s: float) -> float:
    """Return the end of the time that current watts are of: of the running hour, that of its last label."""
    if cluster.hour_s is None:
        return 0.0
    labelled_s = cluster.last_label_s or 0.0
    return min(cluster.hour_s + HOUR_S, labelled_s if labelled_s > cluster.hour_s else written_s)
