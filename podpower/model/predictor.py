"""Encoder, model and requests into predictions: the one place, for the command line, HTTP and Dagster alike."""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Literal

import msgspec

from podpower.datasets.entries import Entries
from podpower.features.columns import amounts_of
from podpower.features.encoder import Encoder
from podpower.features.names import controller_kind, main_image_key
from podpower.features.physical import physical_power_w
from podpower.kubernetes.kinds import ENDLESS_KINDS
from podpower.model.estimates import EXPLAINED_NEIGHBOURS, Estimate, Estimates
from podpower.model.fit import check_fit
from podpower.model.intervals import DEFAULT_LEVEL
from podpower.model.knn import KnnModel
from podpower.model.machines import machine_notes, where_measured
from podpower.model.meters import no_meter_note
from podpower.model.sums import Sums, mean_pods
from podpower.model.totals import PowerInterval, Summands, TotalPower, shared_correlation, total_power
from podpower.model.workload_energy import WorkloadEnergy, workload_energy
from podpower.specs.hashing import spec_hash
from podpower.specs.requests import InferenceRequest

PRIOR_IN_WORDS: Final = "like nothing that was measured: estimated from its resources, hence the wide interval"


PART_ROWS: Final = 512  # predicted at a time: their arrays stay in the processor's cache
_ALL_BUT = 0.95  # of a prediction; what else is in it is not worth a word


class Interval(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """Interval of one pod at the probability `level`: [low, high] in joules a step and in watts."""

    level: float
    energy_step_j: tuple[float, float]
    avg_power_w: tuple[float, float]


class Prediction(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """Prediction for a workload. `pred_*` and `interval` are for one pod, `total_*` for all.

    Joules in `pred_energy_step_j` are those of a step of `step_seconds`. `pred_total_energy_j` is the energy of one
    whole run of a pod, null for what runs without end and where the model knows no such run. `replicas` is the number
    of pods at a time, `replicas_source` where it comes from, `replicas_range` the limits of an autoscaler,
    `component` the pod template of an object that has several. `total_avg_power_w` is the mean over time; of a Job,
    while it runs. `total_energy_j` is `pred_total_energy_j` of all completions of a Job. `kwh_month` is the energy of
    730 hours; of a Job, of one run. `runs_month` is the number of a CronJob's runs. `notes` holds the reason where one
    of these is null or 0. `basis`: "seen" (this
    spec has labels), "similar" (close neighbours), "prior" (too far from all training data: the estimate is that of its
    resources, and the interval is as wide as errors of such estimates are). `pred_avg_power_w` is the median of one
    pod, `expected_avg_power_w` its mean, of which `total_avg_power_w` and `kwh_month` are made; `total_interval` is
    that of `total_avg_power_w`. `interval` is that of 80 %, `intervals` are those of all levels, ascending. `evidence`
    names what the prediction rests on, `label_source` what measured the labels of the model (null: unknown, or there
    are none). `idle_avg_power_w` is the share of the nodes' idle power in `total_avg_power_w`, `cost_month` and
    `co2e_kg_month` those of `kwh_month`; absent where they were not requested.
    """

    namespace: str
    workload_kind: str
    workload_name: str
    spec_hash: str
    pred_energy_step_j: float
    pred_avg_power_w: float
    pred_total_energy_j: float | None
    step_seconds: float
    cluster: str | None
    component: str | None
    replicas: int
    replicas_source: str
    replicas_range: tuple[int, int] | None
    total_avg_power_w: float | None
    total_interval: PowerInterval | None
    expected_avg_power_w: float
    total_energy_j: float | None
    kwh_month: float | None
    runs_month: float | None
    interval: Interval
    intervals: list[Interval]
    basis: Literal["seen", "similar", "prior"]
    evidence: str
    label_source: str | None
    notes: list[str]
    model_version: str
    image_key: str | None
    # Of podpower.impact; absent where not requested.
    idle_avg_power_w: float | msgspec.UnsetType = msgspec.UNSET
    cost_month: float | msgspec.UnsetType | None = msgspec.UNSET
    co2e_kg_month: float | msgspec.UnsetType | None = msgspec.UNSET


class Neighbour(msgspec.Struct, kw_only=True, frozen=True):
    """A measured workload that a prediction rests on: `distance` in the model's metric (0: the same spec; null: a
    former spec of the same workload that is far from this one), `cluster` where it ran (null: unknown), `weight` its
    share in the prediction, `avg_power_w` and `total_energy_j` (null: not a job) its labels for one pod.
    """

    namespace: str
    workload_kind: str
    workload_name: str
    spec_hash: str
    cluster: str | None
    distance: float | None
    weight: float
    avg_power_w: float
    total_energy_j: float | None


class Explanation(Prediction, kw_only=True, frozen=True):
    """A prediction and its neighbours, those that count most first; `prior_weight` is the share of the prior, what its
    resources and kind alone suggest, which is `prior_power_w`; `other_weight` is the share of all that is not shown
    among the neighbours: the prior, and neighbours that count less.
    """

    neighbours: list[Neighbour]
    prior_weight: float
    prior_power_w: float
    other_weight: float


class Total(msgspec.Struct, kw_only=True, frozen=True):
    """All workloads of a batch together: watts of all pods at a time, joules of all runs of those that are jobs.

    `unknown_total_energy` counts the jobs whose energy is unknown and hence not in `total_energy_j`, `unknown_power`
    and `unknown_kwh_month` the workloads that are not in `total_avg_power_w` and `kwh_month`. `errors` and
    `unknown_kinds` count the objects of the input that are in no sum, `duplicates` the predictions of workloads that
    are given again later: each workload counts once. `cost_month` in `currency` and `co2e_kg_month` are those of the
    known kWh; absent without a price and a carbon intensity.
    """

    workloads: int
    replicas: int
    total_avg_power_w: float | None
    total_interval: PowerInterval | None
    total_energy_j: float | None
    kwh_month: float | None
    unknown_total_energy: int
    unknown_power: int
    unknown_kwh_month: int
    errors: int
    unknown_kinds: int
    duplicates: int
    # Of podpower.impact; absent where no price and no carbon intensity are given.
    cost_month: float | msgspec.UnsetType | None = msgspec.UNSET
    currency: str | msgspec.UnsetType = msgspec.UNSET
    co2e_kg_month: float | msgspec.UnsetType | None = msgspec.UNSET


class Predictor:
    """An encoder and the model trained on its vectors. Holds no state of requests; threads may share it."""

    def __init__(self, encoder: Encoder, model: KnnModel, *, version: str) -> None:
        """`version` names the pair in every prediction. Refused when the model was trained with another encoder."""
        check_fit(encoder, model)
        self.encoder = encoder
        self.model = model
        self.version = version

    @property
    def is_quick(self) -> bool:
        """True where a prediction takes less than a millisecond: without sentence embeddings."""
        return self.encoder.text in {"ngram", "none"}

    def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction]:
        """Return a prediction for each request, in order; none depends on the others."""
        predictions: list[Prediction] = []
        for start in range(0, len(requests), PART_ROWS):
            part = [where_measured(request, self.model) for request in requests[start : start + PART_ROWS]]
            queries, estimates = self._estimates(part, shown=1)
            predictions += self._predictions(part, queries, estimates)
        return predictions

    def explain(self, requests: Sequence[InferenceRequest]) -> list[Explanation]:
        """`predict`, each with the neighbours it rests on."""
        requests = [where_measured(request, self.model) for request in requests]
        queries, estimates = self._estimates(requests, shown=EXPLAINED_NEIGHBOURS)
        explanations = []
        for row, prediction in enumerate(self._predictions(requests, queries, estimates)):
            fields = {name: getattr(prediction, name) for name in Prediction.__struct_fields__}
            neighbours = self._neighbours(estimates, row)
            prior = float(estimates.prior_weight[row])
            other = max(0.0, 1.0 - sum(neighbour.weight for neighbour in neighbours))
            alone_w = float(estimates.prior_power_w[row])
            explanations.append(
                Explanation(
                    **fields, neighbours=neighbours, prior_weight=prior, prior_power_w=alone_w, other_weight=other
                )
            )
        return explanations

    def total(
        self,
        predictions: Sequence[Prediction],
        *,
        repeated: Collection[int] = (),
        errors: int = 0,
        unknown_kinds: int = 0,
    ) -> Total:
        """Return sums of `predictions`; what is unknown is counted and never taken for zero.

        `repeated` are the positions of predictions that do not count, `errors` and `unknown_kinds` the objects beside
        them that have no prediction.
        """
        sums = Sums()
        sums.add(predictions)
        return self.total_of(sums, repeated=repeated, errors=errors, unknown_kinds=unknown_kinds)

    def total_of(self, sums: Sums, *, repeated: Collection[int] = (), errors: int = 0, unknown_kinds: int = 0) -> Total:
        """`total`, of predictions that were added to `sums`."""
        sums = sums.without(repeated)
        energies = [
            energy for energy, job in zip(sums.energy_j, sums.is_job, strict=True) if job and energy is not None
        ]
        powers = [watts for watts in sums.power_w if watts is not None]
        # Without a known part there is no sum; nothing at all, or what draws nothing, is 0.
        unknown = len(sums) > 0 or errors > 0 or unknown_kinds > 0
        power = None if unknown and not powers else self._total_power(sums.summands)
        months = [kwh for kwh in sums.kwh_month if kwh is not None]
        return Total(
            workloads=len(sums),
            replicas=sum(sums.replicas),
            total_avg_power_w=None if power is None else math.fsum(powers),
            total_interval=None if power is None else power.interval,
            total_energy_j=math.fsum(energies) if energies else None,
            kwh_month=None if unknown and not months else math.fsum(months),
            unknown_total_energy=sum(sums.is_job) - len(energies),
            unknown_power=len(sums) - len(powers),
            unknown_kwh_month=len(sums) - len(months),
            errors=errors,
            unknown_kinds=unknown_kinds,
            duplicates=len(repeated),
        )

    def total_power(self, predictions: Sequence[Prediction]) -> TotalPower:
        """Return expected watts of all workloads together and their interval; workloads of unknown watts do
        not count.
        """
        sums = Sums()
        sums.add(predictions)
        return self._total_power(sums.summands)

    def _total_power(self, summands: Summands) -> TotalPower:
        return total_power(summands, shared=shared_correlation(self.model.training_size["workloads"]))

    def _estimates(self, requests: Sequence[InferenceRequest], *, shown: int) -> tuple[Entries, Estimates]:
        queries = entries_of(requests, self.encoder)
        return queries, self.model.predict(queries, shown=shown)

    def _predictions(
        self, requests: Sequence[InferenceRequest], queries: Entries, estimates: Estimates
    ) -> Iterator[Prediction]:
        """Yield the prediction of each request."""
        levels, step_s = self.model.intervals.levels, self.model.step_seconds
        default = levels.index(DEFAULT_LEVEL)
        for request, own_hash, image_key, estimate in zip(
            requests, queries.spec_hashes, queries.image_keys, estimates.rows(), strict=True
        ):
            power_w, expected_w = estimate.power_w, estimate.expected_power_w
            intervals = [
                Interval(
                    level=level,
                    energy_step_j=(low_w * step_s, high_w * step_s),
                    avg_power_w=(low_w, high_w),
                )
                for level, low_w, high_w in zip(levels, estimate.low_w, estimate.high_w, strict=True)
            ]
            total_energy_j = None if request.workload_kind in ENDLESS_KINDS else _known(estimate.total_energy_j)
            workload = workload_energy(request, pod_power_w=expected_w, run_energy_j=total_energy_j)
            yield Prediction(
                namespace=request.namespace,
                workload_kind=request.workload_kind,
                workload_name=request.workload_name,
                spec_hash=own_hash,
                pred_energy_step_j=power_w * step_s,
                pred_avg_power_w=power_w,
                pred_total_energy_j=total_energy_j,
                step_seconds=step_s,
                cluster=request.cluster,
                component=request.component,
                replicas=workload.replicas,
                replicas_source=workload.replicas_source,
                replicas_range=workload.replicas_range,
                total_avg_power_w=workload.total_avg_power_w,
                total_interval=_of_all_pods(intervals[default], expected_w, workload),
                expected_avg_power_w=expected_w,
                total_energy_j=workload.total_energy_j,
                kwh_month=workload.kwh_month,
                runs_month=workload.runs_month,
                interval=intervals[default],
                intervals=intervals,
                basis=estimate.basis,
                evidence=self._evidence(request, estimate),
                label_source=self.model.label_source,
                notes=[*workload.notes, *self._meter_notes(request.cluster), *machine_notes(request, self.model)],
                model_version=self.version,
                image_key=image_key or None,
            )

    def _meter_notes(self, cluster: str | None) -> list[str]:
        """Return the note on a named cluster without labels in the model; none where the model knows no cluster."""
        measured = self.model.clusters
        return [no_meter_note(cluster, measured)] if cluster and measured and cluster not in measured else []

    def _evidence(self, request: InferenceRequest, estimate: Estimate) -> str:
        """Return the evidence of the prediction as a sentence."""
        basis, entry, share = estimate.basis, estimate.entry, estimate.prior_weight
        if entry < 0 or share > _ALL_BUT:
            return PRIOR_IN_WORDS
        if basis == "prior":
            return (
                f"far from all that was measured, hence the wide interval: {share:.0%} of it is what its resources "
                "suggest, the rest what the least distant workloads draw"
            )
        workload, cluster = self.model.index.workload(entry), self.model.index.clusters[entry]
        name = "/".join(workload)
        if request.cluster and cluster and request.cluster != cluster:
            name += f" of cluster {cluster}"
        elif basis == "seen" and workload == (request.namespace, request.workload_kind, request.workload_name):
            return f"its own labels, as {name}"
        if basis == "seen":
            return f"labels of the same spec, as {name}"
        return f"{estimate.weight:.0%} of it is what {name} draws"

    def _neighbours(self, estimates: Estimates, row: int) -> list[Neighbour]:
        index = self.model.index
        neighbours = []
        for column, position in enumerate(estimates.neighbour_index[row]):
            entry = int(position)
            if entry < 0 or estimates.neighbour_weight[row, column] <= 0:
                continue
            namespace, kind, name = index.workload(entry)
            neighbours.append(
                Neighbour(
                    namespace=namespace,
                    workload_kind=kind,
                    workload_name=name,
                    spec_hash=index.spec_hashes[entry],
                    cluster=index.clusters[entry] or None,
                    distance=_known(float(estimates.neighbour_distance[row, column])),
                    weight=float(estimates.neighbour_weight[row, column]),
                    avg_power_w=float(index.power_w[entry]),
                    total_energy_j=_known(float(index.total_energy_j[entry])),
                )
            )
        return neighbours


def entries_of(requests: Sequence[InferenceRequest], encoder: Encoder) -> Entries:
    """Return requests in the schema that a model is trained on."""
    amounts = [amounts_of(request) for request in requests]
    return Entries(
        spec_hashes=[spec_hash(request) for request in requests],
        clusters=[request.cluster or "" for request in requests],
        namespaces=[request.namespace for request in requests],
        kinds=[request.workload_kind for request in requests],
        names=[request.workload_name for request in requests],
        controllers=[controller_kind(request) for request in requests],
        image_keys=[main_image_key(request) or "" for request in requests],
        physical_power_w=physical_power_w(requests, amounts),
        vectors=encoder.transform(requests, amounts),
    )


def _of_all_pods(interval: Interval, expected_w: float, workload: WorkloadEnergy) -> PowerInterval | None:
    """Pods of one workload draw alike, so their interval is that of one pod times their number."""
    if workload.total_avg_power_w is None:
        return None
    low_w, high_w = interval.avg_power_w
    pods = mean_pods(workload.total_avg_power_w, expected_w, workload.replicas)
    return PowerInterval(
        level=interval.level, avg_power_w=(min(low_w, expected_w) * pods, max(high_w, expected_w) * pods)
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
