"""GPUs in the physical estimate: slices, shares and models."""

import pytest

from podpower.features.physical import GPU_USE, GPU_W, physical_power_w
from podpower.specs.normalising import request_from_object


def gpu_watts(resource="nvidia.com/gpu", count=1, **pod):
    """What the devices add to the estimate of a Deployment."""

    def estimate(resources):
        container = {"name": "c", "image": "acme/model:1", "resources": resources}
        spec = {"template": {"spec": {"containers": [container], **pod}}}
        manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "m"}, "spec": spec}
        return float(physical_power_w([request_from_object(manifest)])[0])

    return estimate({"limits": {resource: count}}) - estimate({})


def test_a_gpu_of_no_known_model_is_an_ordinary_one():
    assert gpu_watts(count=2) == pytest.approx(2 * GPU_W)


def test_a_slice_draws_its_part_and_a_share_a_quarter():
    assert gpu_watts("nvidia.com/mig-1g.10gb") == pytest.approx(GPU_W / 7)
    assert gpu_watts("nvidia.com/mig-3g.40gb", count=2) == pytest.approx(GPU_W * 6 / 7)
    assert gpu_watts("nvidia.com/gpu.shared") == pytest.approx(GPU_W / 4)


@pytest.mark.parametrize(
    ("pod", "board_w"),
    [
        ({"nodeSelector": {"nvidia.com/gpu.product": "Tesla-T4"}}, 70.0),
        ({"nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}}, 700.0),
        ({"nodeSelector": {"node.kubernetes.io/instance-type": "g6.xlarge"}}, 72.0),
    ],
)
def test_the_model_comes_from_the_selector_or_the_instance_type(pod, board_w):
    # The processor of the instance type differs, too, by a fraction of a watt.
    assert gpu_watts(**pod) == pytest.approx(GPU_USE * board_w, abs=0.5)


def test_a_required_affinity_to_one_model_is_a_selector():
    expression = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-A10"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    assert gpu_watts(affinity=affinity) == pytest.approx(GPU_USE * 150.0)
