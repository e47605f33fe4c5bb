import numpy as np
import pytest

from podpower.evaluation.baselines import BASELINES, Known, constant, image_mean, physical, reference_recipe
from podpower.model.scale import FLOOR_W

POWER_W = np.array([1.0, 4.0, 100.0, 400.0])


@pytest.fixture
def known():
    vectors = np.array([[1, 0], [2, 0.1], [0, 1], [0.1, 3]], dtype=np.float32)
    return Known(numbers=vectors, image_keys=["web", "web", "db", ""], logs=np.log(POWER_W))


def test_the_constant_is_the_geometric_mean(known, queries):
    assert np.exp(constant(known, queries(known.numbers[:2]))) == pytest.approx([20.0, 20.0])


def test_the_image_mean_falls_back_on_the_constant(known, queries):
    asked = queries(known.numbers[:3], image_keys=["web", "db", "new"])
    assert np.exp(image_mean(known, asked)) == pytest.approx([2.0, 100.0, 20.0])


def test_the_physical_estimate_falls_back_on_the_constant(known, queries):
    asked = queries(known.numbers[:2], physical_power_w=[7.0, np.nan])
    assert np.exp(physical(known, asked)) == pytest.approx([7.0 + FLOOR_W, 20.0])


def test_the_reference_recipe_ignores_magnitude_and_sees_one_workload(known, queries):
    """Five equal steps fill its five places, so it answers with the one entry of the nearest direction."""
    predicted = np.exp(reference_recipe(known, queries([[50.0, 0.0], [0.0, 50.0]])))
    assert all(any(value == pytest.approx(power) for power in POWER_W) for value in predicted)


@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_answers_with_one_known_entry(known, queries, name):
    one = Known(numbers=known.numbers[2:3], image_keys=["db"], logs=known.logs[2:3])
    assert np.exp(BASELINES[name](one, queries(known.numbers))) == pytest.approx([100.0] * 4)
