"""Checks of a cluster, its Prometheus and Kepler; each failed one comes with the command that mends it."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import msgspec
import polars as pl

from podpower.errors import InvalidInput, PodpowerError
from podpower.hours import HOUR_S
from podpower.kubernetes.kinds import KINDS, OBSERVED, Kind
from podpower.kubernetes.times import present_form_s
from podpower.labels.kepler import PSEUDO_PODS, Generation, detect
from podpower.labels.nodes import HIGH_RATIO, LOW_RATIO, NodeRatio, failed_ratios
from podpower.labels.relabelling import FIX, described_missing, missing_labels
from podpower.sources.kubernetes.access import Access
from podpower.sources.kubernetes.api import Api
from podpower.sources.kubernetes.identity import cluster_uid
from podpower.sources.kubernetes.list_watch import Found, Stream, listed
from podpower.sources.prometheus.http import NEXT
from podpower.sources.prometheus.source import Prometheus
from podpower.sources.protocols import Selector

State = Literal["ok", "warn", "fail"]

SKEW_S = 30.0
RECENT_S = HOUR_S
_SLOW_SCRAPE_S = 60.0
_SHOWN = 3
_RECENT = "30m"  # within this a running pod has been scraped, unless something is wrong
_YOUNG_S = 120.0  # a pod that runs for less may not have been
_VERBS = ("list", "watch")
_HELM_KEPLER = (
    "helm upgrade --install kepler oci://quay.io/sustainable_computing_io/charts/kepler -n kepler --create-namespace"
)
_HELM_STATE = (
    "helm upgrade --install kube-state-metrics prometheus-community/kube-state-metrics -n monitoring --create-namespace"
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check. `fix` is a command, or a setting, where there is something to do."""

    check: str
    state: State
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return plain values."""
        return asdict(self)


def examine_cluster(open_access: Callable[[], Access], *, kinds: Sequence[Kind] = OBSERVED) -> list[Finding]:
    """Check that the cluster answers, that its clock is ours, and that podpower has the rights it needs."""
    try:
        access = open_access()
    except PodpowerError as error:
        return [Finding(check="cluster", state="fail", detail=str(error), fix="kubectl config get-contexts")]
    return asyncio.run(_examine_cluster(access, kinds))


async def _examine_cluster(access: Access, kinds: Sequence[Kind]) -> list[Finding]:
    async with Api(access, tries=2, refused_s=0.0) as api:
        try:
            version = msgspec.json.decode(await api.get("/version")).get("gitVersion", "of unknown version")
        except (PodpowerError, ValueError, AttributeError) as error:
            return [Finding(check="cluster", state="fail", detail=str(error), fix="kubectl cluster-info")]
        found = [Finding(check="cluster", state="ok", detail=f"{access.cluster} at {access.server}, {version}")]
        found.append(_clock("cluster clock", api.clock_ahead_s))
        found.append(await _rights(api, kinds))
        found.append(await _identity(api))
        return found


async def _rights(api: Api, kinds: Sequence[Kind]) -> Finding:
    """Check rights by SelfSubjectAccessReview, which everybody may create."""
    missing: dict[Kind, list[str]] = {}
    for kind in kinds:
        for verb in _VERBS:
            if not await _may(api, kind, verb):
                missing.setdefault(kind, []).append(verb)
    if not missing:
        return Finding(check="rights", state="ok", detail=f"may list and watch {', '.join(str(k) for k in kinds)}")
    resources = ",".join(f"{k.plural}.{k.group}" if k.group else k.plural for k in missing)
    rules = " ".join(kind.rule(*verbs) for kind, verbs in missing.items())
    return Finding(
        check="rights",
        state="fail",
        detail=f"missing rules: {rules}",
        fix=f"kubectl create clusterrole podpower --verb=get,list,watch --resource={resources} && "
        "kubectl create clusterrolebinding podpower --clusterrole=podpower --serviceaccount=NAMESPACE:ACCOUNT",
    )


async def _identity(api: Api) -> Finding:
    """Check that the namespace whose UID identifies the cluster can be read."""
    if await cluster_uid(api):
        return Finding(check="identity", state="ok", detail="may read the namespace kube-system, which identifies it")
    return Finding(
        check="identity",
        state="warn",
        detail="the namespace kube-system cannot be read: a cluster that is rebuilt under its name is not noticed",
        fix="kubectl create clusterrole podpower-identity --verb=get --resource=namespaces "
        "--resource-name=kube-system && kubectl create clusterrolebinding podpower-identity "
        "--clusterrole=podpower-identity --serviceaccount=NAMESPACE:ACCOUNT",
    )


async def _may(api: Api, kind: Kind, verb: str) -> bool:
    attributes = {"group": kind.group, "version": kind.version, "resource": kind.plural, "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        answer = msgspec.json.decode(await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review))
    except (InvalidInput, ValueError):
        return False
    return bool((answer.get("status") or {}).get("allowed"))


def examine_prometheus(prometheus: Prometheus, *, now_s: float | None = None) -> list[Finding]:
    """Check that Prometheus answers, that its clock is ours, and that Kepler's and the owners' series are right."""
    now_s = time.time() if now_s is None else now_s
    url = prometheus.endpoint.url
    try:
        [(_, server_s)] = prometheus.instant("vector(time())", ts=None)
        names = prometheus.metric_names(start_s=now_s - RECENT_S, end_s=now_s)
    except PodpowerError as error:
        fix = "kubectl -n monitoring port-forward svc/prometheus-operated 9090, then --prom http://localhost:9090"
        return [
            Finding(check="prometheus", state="fail", detail=str(error).removesuffix(NEXT.format(url=url)), fix=fix)
        ]
    found = [
        Finding(check="prometheus", state="ok", detail=f"{url} answers"),
        _clock("prometheus clock", server_s - time.time()),
    ]
    found.append(_owners(names))
    try:
        generations = detect(names)
    except PodpowerError as error:
        fix = f"{_HELM_KEPLER} (docs/how-to/install-kepler.md)"
        if "kube.enabled" in str(error):
            fix = "set config.kube.enabled to true in Kepler's values and upgrade it (docs/how-to/install-kepler.md)"
        return [*found, Finding(check="kepler", state="fail", detail=str(error), fix=fix)]
    found.append(_generations(generations))
    for generation in generations:
        found += _energy(prometheus, generation, names, now_s=now_s)
        found += _sums(prometheus, generation, names, now_s=now_s)
    return found


def examine_pods(access: Access, prometheus: Prometheus, *, now_s: float | None = None) -> Finding:
    """Check that every running pod has energy."""
    now_s = time.time() if now_s is None else now_s
    try:
        running = asyncio.run(_running_pods(access, since_s=now_s - _YOUNG_S))
        names = prometheus.metric_names(start_s=now_s - RECENT_S, end_s=now_s)
        for generation in detect(names):
            if renamed := _renamed_labels(prometheus, generation, names, now_s=now_s):
                return dataclasses.replace(renamed, check="pods")
        measured = {
            (labels.get(g.namespace_label), labels.get(g.pod_label))
            for g in detect(names)
            for metric in g.metrics(names)
            for labels, _ in prometheus.instant(
                f"group by ({g.namespace_label}, {g.pod_label}) (last_over_time({metric}[{_RECENT}]))", ts=now_s
            )
        }  # fmt: skip
    except PodpowerError as error:
        return Finding(check="pods", state="fail", detail=str(error), fix="see the checks above")
    if not running:
        return Finding(
            check="pods", state="warn",
            detail=f"no running pod is older than {_YOUNG_S:g} s: nothing to compare with energy",
            fix="kubectl get pods -A: wait until some run, or choose another --context",
        )  # fmt: skip
    without = {pod: node for pod, node in running.items() if pod not in measured}
    if not without:
        return Finding(check="pods", state="ok", detail=f"all {len(running)} running pods have energy")
    nodes = sorted({node for node in without.values() if node})
    shown = ", ".join("/".join(pod) for pod in sorted(without)[:_SHOWN])
    state: State = "fail" if len(without) == len(running) else "warn"
    return Finding(
        check="pods",
        state=state,
        detail=f"{len(without)} of {len(running)} running pods have no energy, e.g. {shown}; on {', '.join(nodes[:5])}",
        fix="kubectl get pods -A -o wide | grep kepler: it must run on these nodes too (tolerations, nodeSelector)",
    )


async def _running_pods(access: Access, *, since_s: float) -> dict[tuple[str, str], str | None]:
    """Return namespace and name of pods that have run since then, and their node."""
    found = {}
    async with Api(access, tries=2, refused_s=0.0) as api:
        async for item in listed(api, Stream(kind=KINDS["Pod"])):
            if isinstance(item, Found) and (item.object.get("status") or {}).get("phase") == "Running":
                if (present_form_s(item.object) or 0.0) > since_s:
                    continue
                metadata = item.object.get("metadata") or {}
                key = (str(metadata.get("namespace")), str(metadata.get("name")))
                found[key] = (item.object.get("spec") or {}).get("nodeName")
    return found


def _clock(check: str, ahead_s: float | None) -> Finding:
    if ahead_s is None:
        return Finding(check=check, state="warn", detail="the server sends no time", fix="")
    if abs(ahead_s) <= SKEW_S:
        return Finding(check=check, state="ok", detail=f"within {SKEW_S:g} s of ours")
    side = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        check=check,
        state="fail",
        detail=f"{abs(ahead_s):.0f} s {side} ours: labels would be joined to the wrong specs",
        fix="timedatectl set-ntp true, on the machine whose clock is wrong",
    )


def _owners(names: frozenset[str]) -> Finding:
    if "kube_pod_owner" in names:
        return Finding(check="owners", state="ok", detail="kube_pod_owner is there")
    return Finding(
        check="owners",
        state="warn",
        detail="no kube_pod_owner: the workloads of deleted pods are unknown",
        fix=_HELM_STATE,
    )


def _generations(generations: Sequence[Generation]) -> Finding:
    named = " and ".join(g.name for g in generations)
    if len(generations) == 1:
        return Finding(check="kepler", state="ok", detail=f"metrics of Kepler {named}")
    return Finding(
        check="kepler",
        state="warn",
        detail=f"metrics of Kepler {named} within an hour: the newer goes before the older",
        fix="helm uninstall of the older one, once its history is no longer needed",
    )


def _energy(
    prometheus: Prometheus, generation: Generation, names: frozenset[str], *, now_s: float
) -> Iterator[Finding]:
    """Check that the counters count, and that they are scraped often enough."""
    metric = generation.metrics(names)[0]
    try:
        if renamed := _renamed_labels(prometheus, generation, names, now_s=now_s):
            yield renamed
            return
        yield from _counting(prometheus, generation, metric, now_s=now_s)
    except PodpowerError as error:
        yield Finding(check="energy", state="fail", detail=str(error), fix="see docs/how-to/operate.md")


def _renamed_labels(
    prometheus: Prometheus, generation: Generation, names: frozenset[str], *, now_s: float
) -> Finding | None:
    """Return a finding where series of pods lack a label that labels are made by."""
    metric = generation.metrics(names)[0]
    found = prometheus.label_names(Selector(metric=metric), ts=now_s)
    missing = missing_labels(generation, metric, found) if found else []
    if not missing:
        return None
    return Finding(check="labels", state="fail", detail=described_missing(metric, missing, found), fix=FIX)


def _counting(prometheus: Prometheus, generation: Generation, metric: str, *, now_s: float) -> Iterator[Finding]:
    pseudo = json.dumps("|".join(PSEUDO_PODS))
    selector = f"{metric}{{{generation.pod_label}!~{pseudo}}}"
    largest = prometheus.instant(f"max({selector})", ts=now_s)
    if not largest:
        yield Finding(
            check="energy", state="fail", detail=f"{metric} has no sample in the last 5 minutes",
            fix="kubectl get pods -A | grep kepler, and the targets page of Prometheus",
        )  # fmt: skip
        return
    if largest[0][1] == 0:
        yield Finding(
            check="energy",
            state="fail",
            detail=f"{metric} is 0 J everywhere: no hardware counters are seen, as on most cloud VMs",
            fix="run Kepler where RAPL is readable, as on bare metal (ls /sys/class/powercap/intel-rapl)",
        )
    else:
        yield Finding(check="energy", state="ok", detail=f"{metric} counts up to {largest[0][1]:.3g} J")
    yield _scrapes(prometheus, generation, metric, selector, now_s=now_s)


def _scrapes(prometheus: Prometheus, generation: Generation, metric: str, selector: str, *, now_s: float) -> Finding:
    """Check the time between samples of the pod that has most of them."""
    fullest = prometheus.instant(f"topk(1, count_over_time({selector}[10m]))", ts=now_s)
    named = {generation.pod_label: (str(fullest[0][0].get(generation.pod_label)),)} if fullest else {}
    samples = prometheus.samples([Selector(metric=metric, labels=named)], start_s=now_s - 600.0, end_s=now_s)
    gaps = samples.points.sort("series_id", "ts").select(pl.col("ts").diff().over("series_id").drop_nulls())["ts"]
    if gaps.is_empty():
        return Finding(
            check="scrapes", state="warn", detail="one sample of each pod in 10 minutes: no interval is known yet",
            fix="run podpower doctor again in a minute; if this stays, set Kepler's ServiceMonitor to 30s",
        )  # fmt: skip
    every_s = float(gaps.median())  # type: ignore[arg-type]
    slow = every_s > _SLOW_SCRAPE_S
    return Finding(
        check="scrapes",
        state="warn" if slow else "ok",
        detail=f"a sample every {every_s:.0f} s" + (": steps of a minute are mostly interpolated" if slow else ""),
        fix="set the interval of Kepler's ServiceMonitor to 30s (docs/how-to/install-kepler.md)" if slow else "",
    )


def _sums(prometheus: Prometheus, generation: Generation, names: frozenset[str], *, now_s: float) -> Iterator[Finding]:
    """Check the sum of pods against the counters of their nodes in the last hour, where those exist."""
    try:
        ratios = list(_ratios(prometheus, generation, names, now_s=now_s))
    except PodpowerError as error:
        yield Finding(check="sums", state="fail", detail=str(error), fix="see docs/how-to/operate.md")
        return
    if not ratios:
        return
    shown = ", ".join(f"{r.ratio:.2f} of {'all energy of ' if r.bound else ''}their nodes ({r.zone})" for r in ratios)
    failed = failed_ratios(ratios)
    yield Finding(
        check="sums",
        state="fail" if failed else "ok",
        detail=f"pods add up to {shown}" + (f"; expected {LOW_RATIO:g} to {HIGH_RATIO:g}" if failed else ""),
        fix="kubectl get pods -A -o wide | grep kepler: one for each node, scraped once, of the newest release "
        "(docs/explanation/labels.md)"
        if failed
        else "",
    )


def _ratios(
    prometheus: Prometheus, generation: Generation, names: frozenset[str], *, now_s: float
) -> Iterator[NodeRatio]:
    for pods, nodes, zone, bound in generation.comparisons(names):
        pods_j, nodes_j = (_increase(prometheus, selector, now_s=now_s) for selector in (pods, nodes))
        if nodes_j > 0:
            yield NodeRatio(hour="the last hour", zone=zone, pods_j=pods_j, nodes_j=nodes_j, bound=bound)


def _increase(prometheus: Prometheus, selector: Selector, *, now_s: float) -> float:
    found = prometheus.instant(f"sum(increase({prometheus.matched(selector)}[1h]))", ts=now_s)
    return found[0][1] if found else 0.0
