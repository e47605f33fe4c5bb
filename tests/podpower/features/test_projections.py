"""What was kept of other requests shows in no bit of a vector, and what is kept is bounded."""

import numpy as np
import pytest

from podpower.features.encoder import Encoder
from podpower.features.ngrams import request_words, sketches
from podpower.features.projections import Projector, Recent
from podpower.specs.requests import Container, InferenceRequest


def workload(name, image="acme/app:1", **container):
    return InferenceRequest(
        workload_kind="Deployment", workload_name=name, containers=[Container(name="c", image=image, **container)]
    )


@pytest.fixture(scope="module")
def fitted():
    requests = [workload(f"web-{software}", f"acme/{software}:1") for software in ("redis", "nginx", "etcd", "mongo")]
    return Encoder.fit(requests).state()


REQUESTS = [
    *(workload(f"shop-{part}", f"acme/{part}-api:2", args=["--verbose"]) for part in ("cart", "stock", "price")),
    workload("1", None),
    workload("long", args=[f"--option-{number}" for number in range(200)]),
    workload("w" * 900, "x" * 500),
    workload("cart-stock-cart", "acme/cart-api"),
]


def test_a_vector_is_the_same_whatever_was_kept_before(fitted):
    fresh = [Projector(fitted["idf"], fitted["projection"]).vectors([request])[0] for request in REQUESTS]
    used = Projector(fitted["idf"], fitted["projection"])
    used.vectors([workload(f"other-{number}", "acme/price:3") for number in range(50)])
    for batch in (REQUESTS, REQUESTS[::-1][:3], REQUESTS):
        expected = [fresh[REQUESTS.index(request)] for request in batch]
        assert used.vectors(batch).tobytes() == np.stack(expected).tobytes()


def test_composed_words_project_like_the_whole_text(fitted):
    sketched = sketches([request_words(request) for request in REQUESTS], fitted["idf"])
    expected = sketched @ fitted["projection"].astype(np.float64)
    vectors = Projector(fitted["idf"], fitted["projection"]).vectors(REQUESTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_the_keys_used_last_are_kept():
    recent = Recent(3)
    for key in range(20):
        recent.keep(key, key)
        assert recent.get(0) == 0  # used each time, hence kept
        assert len(recent) <= 6
    assert recent.get(2) is None
