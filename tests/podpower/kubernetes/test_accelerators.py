"""What part of a GPU a device is, and which model a node is."""

import pytest

from podpower.kubernetes.accelerators import board_power_w, gpu_model, gpu_part, is_gpu


@pytest.mark.parametrize(
    ("resource", "part"),
    [
        ("nvidia.com/gpu", 1.0),
        ("amd.com/gpu", 1.0),
        ("gpu.intel.com/i915", 1.0),
        ("nvidia.com/gpu.shared", 0.25),
        ("nvidia.com/mig-1g.10gb", 1 / 7),
        ("nvidia.com/mig-1g.10gb.me", 1 / 7),
        ("nvidia.com/mig-3g.20gb", 3 / 7),
        ("nvidia.com/mig-7g.80gb", 1.0),
        ("nvidia.com/mig-1c.3g.40gb", 1 / 7),
        ("nvidia.com/mig-2g.12gb", 0.5),  # of an A30, which has four slices
        ("nvidia.com/mig-1g.10gb.shared", 0.25 / 7),
    ],
)
def test_a_device_is_a_part_of_a_gpu(resource, part):
    assert is_gpu(resource)
    assert gpu_part(resource) == pytest.approx(part)


@pytest.mark.parametrize("resource", ["cpu", "nvidia.com/gpu.memory", "example.com/fpga", "gpu", "a" * 10_000])
def test_other_resources_are_no_gpus(resource):
    assert not is_gpu(resource)


@pytest.mark.parametrize(
    ("labels", "node_type", "model", "watts"),
    [
        ({"nvidia.com/gpu.product": "Tesla-T4"}, None, "t4", 70.0),
        ({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}, None, "a100", 400.0),
        ({"nvidia.com/gpu.product": "NVIDIA-A100-PCIE-40GB"}, None, "a100-pcie", 300.0),
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, "g4dn.xlarge", "h100", 700.0),
        ({"nvidia.com/gpu.product": "NVIDIA-L40S"}, None, "l40s", 350.0),
        ({"cloud.google.com/gke-accelerator": "nvidia-l4"}, None, "l4", 72.0),
        ({"cloud.google.com/gke-accelerator": "nvidia-tesla-v100"}, None, "v100", 300.0),
        ({}, "p5.48xlarge", "h100", 700.0),
        ({}, "g2-standard-8", "l4", 72.0),
        ({}, "a2-highgpu-1g", "a100", 400.0),
        ({}, "Standard_NC4as_T4_v3", "t4", 70.0),
        ({"nvidia.com/gpu.product": "NVIDIA-X9000"}, "m6g.large", None, None),
    ],
)
def test_labels_and_instance_types_name_the_model(labels, node_type, model, watts):
    assert gpu_model(labels, node_type) == model
    assert board_power_w(model) == watts
