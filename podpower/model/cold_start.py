"""The model of a cluster of which nothing was measured: the physical estimate, with intervals as wide as its errors."""

from datetime import UTC, datetime

import numpy as np

from podpower.datasets.entries import MeasuredEntries
from podpower.features.encoder import Encoder
from podpower.model.expected import MeanFactors
from podpower.model.intervals import SOURCES, UNKNOWN_WIDENING, fit_intervals
from podpower.model.knn import KnnModel
from podpower.model.metric import Metric
from podpower.model.partial_pooling import LEVELS
from podpower.model.prior import Prior

VERSION = "untrained"  # of its predictions
NOTE = "nothing was measured: estimates from resources alone, mostly within a factor of ten"
_STEP_SECONDS = 60.0


def cold_start_model(encoder: Encoder) -> KnnModel:
    """Return a model without any label, for vectors of `encoder`."""
    none = np.zeros(0)
    index = MeasuredEntries(
        spec_hashes=[], clusters=[], namespaces=[], kinds=[], names=[], controllers=[], image_keys=[],
        vectors=np.zeros((0, encoder.dim), dtype=np.float32), physical_power_w=none,
        power_w=none, total_energy_j=none, seconds=none, share=none, spread=none, next_spread=none,
    )  # fmt: skip
    return KnnModel(
        index=index,
        inverted_file=None,
        metric=Metric(blocks=(encoder.dim,), weights=(1.0,)),
        neighbours=1,
        pseudo_counts=dict.fromkeys(LEVELS, 1.0),
        prior=Prior(),
        prior_total=float("nan"),
        similar_within=-1.0,
        intervals=fit_intervals(dict.fromkeys(SOURCES, none), widening=UNKNOWN_WIDENING),
        mean_factors=MeanFactors(),
        cluster_effects={},
        half_life_s=float("inf"),
        target="avg_power_w",
        step_seconds=_STEP_SECONDS,
        energy="dynamic",
        encoder_fingerprint=encoder.fingerprint,
        metrics={"left_out_entries": 0},
        labels_end_s=0.0,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_size={"rows": 0, "rows_left_out": 0, "examples": 0, "specs": 0, "workloads": 0},
        training_notes=(NOTE,),
    )
