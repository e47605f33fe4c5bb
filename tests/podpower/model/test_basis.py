"""The basis of predictions, by remoteness and by what the model has labels of."""

import numpy as np

from podpower.model.basis import decide_bases
from podpower.model.intervals import SOURCES


def test_neighbours_decide_unless_the_spec_or_a_former_one_has_labels() -> None:
    remote = np.array([0.2, 0.5, 0.6, 0.9, 0.9, 0.1])
    bases = decide_bases(remote, similar_within=0.5, revised=[3, 4], elsewhere=[4, 5])
    assert list(bases.basis) == ["similar", "similar", "prior", "similar", "seen", "seen"]
    sources = [SOURCES[source] for source in bases.source]
    assert sources == ["similar", "similar", "prior", "revised", "revised", "elsewhere"]


def test_a_workload_with_labels_of_this_spec_is_seen_whatever_its_neighbours() -> None:
    bases = decide_bases(np.array([1.0, 0.0]), similar_within=0.5, revised=[0], elsewhere=())
    bases.mark_measured(0)
    assert [*bases.basis, *(SOURCES[source] for source in bases.source)] == ["seen", "similar", "seen", "similar"]
