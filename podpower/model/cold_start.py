"""The model of a cluster of which nothing was measured: the physical estimate, with intervals as wide as its errors."""

from datetime import UTC, datetime

import numpy as np

from podpower.features.encoder import Encoder
from podpower.model.index import Index
from podpower.model.intervals import SOURCES, UNKNOWN_WIDENING, fit_intervals
from podpower.model.knn import KnnModel
from podpower.model.metric import Metric
from podpower.model.partial_pooling import Masses
from podpower.model.prior import Prior

NOTE = "nothing was measured: estimates from resources alone, mostly within a factor of ten"
_STEP_SECONDS = 60.0


def untrained_model(encoder: Encoder) -> KnnModel:
    """A model without any label, for vectors of `encoder`."""
    none = np.zeros(0)
    index = Index(
        vectors=np.zeros((0, encoder.dim), dtype=np.float32),
        spec_hashes=[], clusters=[], namespaces=[], kinds=[], names=[], image_keys=[],
        power_w=none, total_energy_j=none, seconds=none, share=none, spread=none,
    )  # fmt: skip
    return KnnModel(
        index=index,
        cells=None,
        metric=Metric(blocks=(encoder.dim,), weights=(1.0,)),
        neighbours=1,
        masses=Masses(neighbours=1.0, image=1.0, alike=1.0, owner=1.0),
        prior=Prior(),
        prior_total=float("nan"),
        similar_within=-1.0,
        intervals=fit_intervals(dict.fromkeys(SOURCES, none), widening=UNKNOWN_WIDENING),
        half_life_s=float("inf"),
        target="avg_power_w",
        step_seconds=_STEP_SECONDS,
        energy="dynamic",
        encoder_fingerprint=encoder.fingerprint,
        metrics={"left_out_entries": 0},
        labels_end_s=0.0,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_size={"rows": 0, "rows_left_out": 0, "examples": 0, "specs": 0, "workloads": 0},
        notes=[NOTE],
    )
