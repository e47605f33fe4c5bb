"""Workloads from what people have: NDJSON, one InferenceRequest, or manifests; the content tells which."""

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from podpower.cli import output, streams
from podpower.errors import InvalidInput

if TYPE_CHECKING:
    from podpower.specs.manifests import Rejected
    from podpower.specs.requests import InferenceRequest

_SHOWN = 20  # rejected documents told one by one; the rest only counted


def read_requests(path: str) -> "tuple[list[InferenceRequest], list[Rejected]]":
    """The workloads in a file or standard input, and what was rejected. InvalidInput when there is no workload."""
    from podpower.specs.manifests import read_manifests  # noqa: PLC0415

    source = streams.display_name(path)
    data = streams.read_bytes(path)
    if not data.strip():
        raise InvalidInput(f"{source} is empty: expected InferenceRequests as NDJSON, or manifests")
    if _holds_requests(data):
        requests, rejected = _read_ndjson(data, source)
    else:
        requests, rejected = read_manifests(data, source=source)
    if not requests:
        why = f" ({rejected[0].detail})" if rejected else ""
        raise InvalidInput(f"{source} holds no workload{why}")
    return requests, rejected


def report(rejected: "Sequence[Rejected]") -> int:
    """Tell what was broken, and how much was passed over, on standard error; returns the exit code."""
    broken = [item for item in rejected if item.reason == "broken"]
    for item in broken[:_SHOWN]:
        output.note(f"rejected: {item.source}, document {item.index}: {' '.join(item.detail.split())}")
    if len(broken) > _SHOWN:
        output.note(f"rejected: {len(broken) - _SHOWN} more")
    if len(rejected) > len(broken):
        output.note(f"passed over, of kinds without pods: {len(rejected) - len(broken)}")
    return 1 if broken else 0


def _read_ndjson(data: bytes, source: str) -> "tuple[list[InferenceRequest], list[Rejected]]":
    from podpower.specs.manifests import Rejected  # noqa: PLC0415
    from podpower.specs.ndjson import read_ndjson  # noqa: PLC0415

    requests: list[InferenceRequest] = []
    rejected: list[Rejected] = []
    for item in read_ndjson(io.BytesIO(_one_a_line(data)), source=source):
        if isinstance(item, Rejected):
            rejected.append(item)
        else:
            requests.append(item)
    return requests, rejected


def _holds_requests(data: bytes) -> bool:
    """Whether these are InferenceRequests: the first is told from a manifest by its fields."""
    if data.lstrip()[:1] not in (b"{", b"["):
        return False
    first = _parsed(data.lstrip().split(b"\n", 1)[0])
    if first is None:
        first = _parsed(data)
    if isinstance(first, list):
        first = first[0] if first else None
    return isinstance(first, dict) and "apiVersion" not in first and "kind" not in first


def _one_a_line(data: bytes) -> bytes:
    """NDJSON as it is; one pretty-printed request, or a list of them, as NDJSON."""
    whole = _parsed(data)
    if whole is None:
        return data
    values = whole if isinstance(whole, list) else [whole]
    try:
        return b"\n".join(json.dumps(value).encode() for value in values)
    except RecursionError:  # it is written with more recursion than it is read
        return data


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
