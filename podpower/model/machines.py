"""Machine types: those that labels are of, and the one that a request names."""

import msgspec

from podpower.model.knn import KnnModel
from podpower.specs.hashing import spec_hash
from podpower.specs.requests import InferenceRequest


def where_measured(request: InferenceRequest, model: KnnModel) -> InferenceRequest:
    """Return the request without its machine type where that is the one that its labels are of: the same spec."""
    if request.node_type is None or request.node_type != model.node_type(request.cluster):
        return request
    anywhere = _anywhere(request)
    return anywhere if model.has_labels(spec_hash(anywhere)) else request


def machine_notes(request: InferenceRequest, model: KnnModel) -> list[str]:
    """Return the note on a spec that was measured, but not on the machine type that is requested."""
    if request.node_type is None or model.has_labels(spec_hash(request)):
        return []
    if not model.has_labels(spec_hash(_anywhere(request))):
        return []
    measured = model.node_type(request.cluster)
    where = f"on {measured}" if measured else "on machines of a type that is not known"
    return [f"measured {where}, not on {request.node_type}: the watts of another machine type differ"]


def _anywhere(request: InferenceRequest) -> InferenceRequest:
    return msgspec.structs.replace(request, node_type=None)
