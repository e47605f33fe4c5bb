"""Workloads with an old and a new spec and their true watts, some measured, some held out: of tests and a benchmark."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from podpower.datasets.hash_versions import HASH_VERSION
from podpower.difference.changes import difference
from podpower.features.encoder import Encoder
from podpower.impact.assessment import Inputs, assess
from podpower.model.predictor import Predictor
from podpower.specs.hashing import spec_hash
from podpower.specs.requests import Container, InferenceRequest
from podpower.specs.selection import Workloads
from podpower.training.train import train


def requests_of(rng, number, *, first=0):
    """Workloads of ten images, each with an old and a new spec: another CPU request."""
    found = []
    for place in range(first, first + number):
        old_mcpu = float(np.exp(rng.uniform(np.log(50), np.log(2000))).round())
        new_mcpu = float(np.round(old_mcpu * np.exp(rng.normal() * 0.7)))
        found.append(
            [
                InferenceRequest(
                    workload_kind="Deployment",
                    workload_name=f"team{place % 7}-service{place}",
                    replicas=2,
                    containers=[Container(name="c", image=f"acme/app{place % 10}:1", req_cpu_mcpu=mcpu)],
                )
                for mcpu in (old_mcpu, new_mcpu)
            ]
        )
    return found


def watts_of(pairs, rng):
    """True watts: of the image, of the workload itself, a little of each revision, and of the CPU request."""
    found = []
    for old, new in pairs:
        image = int(old.containers[0].image[8:-2])
        own = 0.3 * image - 1.0 + rng.normal() * 0.7
        found.append(
            [np.exp(own + 0.5 * np.log(r.containers[0].req_cpu_mcpu / 300.0) + rng.normal() * 0.15) for r in (old, new)]
        )
    return np.array(found)


def held_out(seed):
    """A model of 90 workloads, and 120 others with their true watts."""
    rng = np.random.default_rng(seed)
    known, unknown = requests_of(rng, 90), requests_of(rng, 120, first=90)
    watts = watts_of(known, rng)
    flat = [request for pair in known for request in pair]
    encoder = Encoder.fit(flat, text="ngram")
    rows = [
        {
            "cluster": "c",
            "ts": step * 600.0,
            "namespace": request.namespace,
            "workload_kind": request.workload_kind,
            "workload_name": request.workload_name,
            "pod": f"{request.workload_name}-{place % 2}",
            "avg_power_w": float(power_w),
            "energy_step_j": float(power_w) * 60.0,
            "step_seconds": 60.0,
            "energy": "dynamic",
            "_spec_hash": spec_hash(request),
            "spec_hash_version": HASH_VERSION,
            "features": vector.tolist(),
            "encoder_fingerprint": encoder.fingerprint,
            "image_key": request.containers[0].image.partition(":")[0],
        }
        for place, (request, power_w, vector) in enumerate(
            zip(flat, watts.ravel(), encoder.transform(flat), strict=True)
        )
        for step in range(1, 4)
    ]
    predictor = Predictor(encoder, train(pl.DataFrame(rows)), version="v")
    return predictor, unknown, watts_of(unknown, rng)


@dataclass(frozen=True)
class Coverage:
    """How many 80 % intervals of changes hold the true difference, and their width beside that of both sides alone."""

    changes: int
    share: float
    width: float
    found: object


def coverage_of(predictor, pairs, watts):
    """Compare all pairs as one change."""
    old, new = (Workloads(requests=[pair[side] for pair in pairs]) for side in (0, 1))
    found = difference(predictor, assess(predictor, old, Inputs()), assess(predictor, new, Inputs()))
    of_workload = {change.workload_name: change for change in found.changes}
    inside, widths, alone = [], [], []
    for pair, (before_w, after_w) in zip(pairs, watts, strict=True):
        change = of_workload.get(pair[0].workload_name)
        if change is None:  # its request was drawn twice
            continue
        low, high = change.delta_interval.avg_power_w
        inside.append(low <= 2 * (after_w - before_w) <= high)
        widths.append(high - low)
        alone.append(sum(_width(side) for side in (change.old, change.new)))
    return Coverage(changes=len(inside), share=float(np.mean(inside)), width=sum(widths) / sum(alone), found=found)


def _width(prediction):
    low, high = prediction.total_interval.avg_power_w
    return high - low
