"""Accelerators: what part of a GPU a device resource is, and which model a node label or instance type names."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

# Labels that name the model: of GPU feature discovery, GKE, Karpenter, AMD's and Intel's node labellers.
MODEL_LABELS: Final = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "amd.com/gpu.product-name",
    "gpu.intel.com/product",
)
# Of a time-sliced GPU the spec does not name the number of shares; the device plugin's documentation has four.
SHARED_PART: Final = 0.25
_SLICES: Final = 7  # of compute on A100, H100, H200 and B200
_DEVICE = re.compile(r"(?:[\w.-]+/gpu(?:\.shared)?|[\w.-]+/mig-[\w.-]+|gpu\.intel\.com/[\w.-]+)")
_MIG = re.compile(r"mig-(?:(?P<compute>[1-7])c\.)?(?P<slices>[1-7])g\.(?P<memory>\d{1,3})gb[\w.-]*")
_A30_PROFILES: Final = frozenset({("1", "6"), ("2", "12"), ("4", "24")})  # four slices

# Board power limits in watts, data sheets. Longer names first: "a100-pcie" contains "a100".
_BOARDS_W: Final = (
    ("a100-pcie", 300.0), ("a100", 400.0), ("a10g", 300.0), ("a10", 150.0), ("a16", 250.0), ("a2", 60.0),
    ("a30", 165.0), ("a40", 300.0), ("a6000", 300.0), ("b200", 1000.0), ("gaudi2", 600.0), ("h100-pcie", 350.0),
    ("h100", 700.0), ("h200", 700.0), ("k80", 300.0), ("l40s", 350.0), ("l40", 300.0), ("l4", 72.0), ("mi210", 300.0),
    ("mi250", 500.0), ("mi300x", 750.0), ("p100", 250.0), ("p40", 250.0), ("p4", 75.0), ("t4g", 70.0), ("t4", 70.0),
    ("v100", 300.0), ("flex-140", 75.0), ("flex-170", 150.0), ("max-1550", 600.0),
)  # fmt: skip
_BOARD_W: Final = dict(_BOARDS_W)
# Instance families of the three large clouds and the model in them.
_FAMILIES: Final = (
    (re.compile(r"(?:p3|p3dn)\..*"), "v100"),
    (re.compile(r"(?:p4d|p4de)\..*"), "a100"),
    (re.compile(r"p5\..*"), "h100"),
    (re.compile(r"(?:p5e|p5en)\..*"), "h200"),
    (re.compile(r"g4dn\..*"), "t4"),
    (re.compile(r"g5\..*"), "a10g"),
    (re.compile(r"g5g\..*"), "t4g"),
    (re.compile(r"(?:g6|gr6)\..*"), "l4"),
    (re.compile(r"g6e\..*"), "l40s"),
    (re.compile(r"a2-.*"), "a100"),
    (re.compile(r"a3-(?:high|mega|edge)gpu-.*"), "h100"),
    (re.compile(r"a3-ultragpu-.*"), "h200"),
    (re.compile(r"g2-.*"), "l4"),
    (re.compile(r"standard_nc\d+as_t4_v3"), "t4"),
    (re.compile(r"standard_nc\d+ads_a100_v4"), "a100-pcie"),
    (re.compile(r"standard_nc\d+s_v3"), "v100"),
    (re.compile(r"standard_nd\d+a?m?sr_(?:a100_)?v4"), "a100"),
    (re.compile(r"standard_nd\d+isr_h100_v5"), "h100"),
    (re.compile(r"standard_nv\d+ad\w*_a10_v5"), "a10"),
)
_MAX_CHARS: Final = 128


def is_gpu(resource: str) -> bool:
    """Return True for a resource name of GPUs, their slices or their shares."""
    return bool(_DEVICE.fullmatch(resource))


@lru_cache(maxsize=256)
def gpu_part(resource: str) -> float:
    """Return the part of a GPU that one device of this resource is.

    >>> gpu_part("nvidia.com/gpu"), round(gpu_part("nvidia.com/mig-1g.10gb"), 3), gpu_part("nvidia.com/gpu.shared")
    (1.0, 0.143, 0.25)
    """
    name = resource[:_MAX_CHARS].rpartition("/")[2]
    if name.endswith(".shared"):
        name = name.removesuffix(".shared")
        return SHARED_PART if name == "gpu" else SHARED_PART * gpu_part(f"nvidia.com/{name}")
    mig = _MIG.fullmatch(name)
    if mig is None:
        return 1.0
    slices = 4 if (mig["slices"], mig["memory"]) in _A30_PROFILES else _SLICES
    return min(1.0, int(mig["compute"] or mig["slices"]) / slices)


def gpu_model(labels: Mapping[str, str], node_type: str | None) -> str | None:
    """Return the model that node labels or an instance type name; None where they name none that is known.

    >>> gpu_model({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}, None), gpu_model({}, "g4dn.xlarge")
    ('a100', 't4')
    """
    for label in MODEL_LABELS:
        if label in labels and (model := known_model(labels[label])):
            return model
    named = (node_type or "")[:_MAX_CHARS].lower()
    return next((model for pattern, model in _FAMILIES if pattern.fullmatch(named)), None)


@lru_cache(maxsize=256)
def known_model(name: str) -> str | None:
    """Return the known model that a product name contains.

    >>> known_model("Tesla-T4"), known_model("nvidia-h100-80gb"), known_model("my-fpga")
    ('t4', 'h100', None)
    """
    words = re.split(r"[^a-z0-9]+", name[:_MAX_CHARS].lower())
    for model, _ in _BOARDS_W:
        if all(word in words for word in model.split("-")):
            return model
    return None


def board_power_w(model: str | None) -> float | None:
    """Return the power limit of a board of this model; None for an unknown one."""
    return _BOARD_W.get(model) if model else None
