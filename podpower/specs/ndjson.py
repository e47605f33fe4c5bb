"""`InferenceRequest`s as JSON, one a line: v1 of podpower, that of the reference system, and its minimal `pod_spec`
form.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from podpower.errors import InvalidInput
from podpower.kubernetes.limits import MAX_CHARACTERS, MAX_TEXTS
from podpower.specs import json_values
from podpower.specs.documents import Rejected
from podpower.specs.messages import readable
from podpower.specs.normalising import check_schedule, check_texts, request_from_object
from podpower.specs.quoting import quoted
from podpower.specs.redaction import redact_request
from podpower.specs.requests import InferenceRequest

_DECODER = msgspec.json.Decoder(InferenceRequest)
_MAX_LINE_BYTES = 4 << 20
_MANY_OBJECTS, _MANY_QUOTES = 20_000, 4 * MAX_TEXTS
_EXACT = 2.0**53  # above, a float is no certain whole number
_RANGE = 2  # numbers of replicas_range
_FEW_BYTES = min(3 * MAX_TEXTS, MAX_CHARACTERS)  # a text takes two quotes and a comma, so fewer bytes have fewer texts
_BESIDE_POD_SPEC = (
    "cluster", "replicas", "replicas_source", "replicas_range", "parallelism", "completions", "schedule", "time_zone",
    "concurrency_policy", "state",
)  # fmt: skip
_DEFAULTS = {"labels", "annotations", "volume_types", "init_container_count", "sidecar_count", "gpu_count", "namespace"}


def encode_request(request: InferenceRequest) -> bytes:
    """Return one line of NDJSON, without its line break."""
    return msgspec.json.encode(request)


def decode_request(line: bytes) -> InferenceRequest:
    """Return the request of one line, without credentials. InvalidInput names the field and what would be right."""
    try:
        return _checked(_DECODER.decode(line))
    except (msgspec.ValidationError, RecursionError):
        pass  # the slower way reads the older forms, and names the error
    except ValueError as error:
        raise InvalidInput(f"not valid JSON: {error}") from None
    return request_from_dict(json_values.value_of(line))


def decode_to_predict(line: bytes | msgspec.Raw) -> InferenceRequest | None:
    """Return the request in v1 JSON, None where it is another form or an error: `request_from_dict` reads both.

    Its labels and annotations are not redacted: no value of them is part of a prediction. InvalidInput as
    `decode_request`.
    """
    small = len(memoryview(line)) <= _FEW_BYTES
    if not small and _has_too_many_parts(line):
        return None
    try:
        request = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None
    return _checked(request, metadata=False, small=small)


def _has_too_many_parts(line: bytes | msgspec.Raw) -> bool:
    """Return True where decoding would make more objects than a request has, before their number is checked."""
    data = bytes(line)
    return data.count(b"{") > _MANY_OBJECTS or data.count(b'"') - data.count(b'\\"') > _MANY_QUOTES


def request_from_dict(value: Any) -> InferenceRequest:
    """Return the request in a decoded JSON object, without credentials. InvalidInput as `decode_request`."""
    if not isinstance(value, dict):
        raise InvalidInput("expected a JSON object with workload_kind, workload_name and containers")
    if "containers" not in value and "pod_spec" in value:
        return _from_pod_spec(value)
    if "kind" in value and "workload_kind" not in value:
        raise InvalidInput("this is a Kubernetes manifest, not an InferenceRequest; send it as a manifest")
    known = {name: _whole(field) for name, field in value.items() if field is not None or name not in _DEFAULTS}
    try:
        return _checked(msgspec.convert(known, InferenceRequest))
    except msgspec.ValidationError as error:
        raise InvalidInput(readable(str(error), known)) from None


def _whole(value: Any) -> Any:
    """Return a number without a fraction as the whole number that it is in JSON, also in a list; others as they are."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return [_whole(entry) for entry in value] if isinstance(value, list) and len(value) == _RANGE else value


def _checked(request: InferenceRequest, *, metadata: bool = True, small: bool = False) -> InferenceRequest:
    """Return the request without credentials. InvalidInput as `decode_request`.

    `metadata` redacts labels and annotations, too. A `small` request cannot have too many texts.
    """
    check_schedule(request)
    try:
        if not small:
            check_texts(request.containers, request.labels, request.annotations)
    except InvalidInput as error:
        named = f"{quoted(request.workload_kind)} {quoted(request.workload_name)}"
        raise InvalidInput(f"{named}: {error}") from None
    return redact_request(request, metadata=metadata)


def _from_pod_spec(value: Mapping[str, Any]) -> InferenceRequest:
    """Return the request of the reference system's minimal form: a raw pod spec beside the workload's names."""
    pod_spec = value["pod_spec"]
    for name in ("workload_kind", "workload_name"):
        if not isinstance(value.get(name), str) or not value[name]:
            raise InvalidInput(f"{name}: missing; write e.g. " + ("Deployment" if name.endswith("kind") else "web"))
    metadata = {name: value.get(name) for name in ("namespace", "labels", "annotations")}
    try:
        pod = {"kind": "Pod", "metadata": {**metadata, "name": value["workload_name"]}, "spec": pod_spec}
        request = request_from_object(pod)
    except InvalidInput as error:
        raise InvalidInput(str(error).replace("spec.", "pod_spec.", 1)) from None
    rest = {name: value[name] for name in _BESIDE_POD_SPEC if name in value}
    whole = msgspec.to_builtins(request) | rest | {"workload_kind": value["workload_kind"]}
    return request_from_dict(whole)


def read_ndjson(
    lines: Iterable[bytes], *, source: str, to_predict: bool = False
) -> Iterator[InferenceRequest | Rejected]:
    """Yield each line's request, or why there is none; empty lines are skipped. `lines` can be an open binary file.

    Of requests `to_predict`, labels and annotations can be left as they are, as by `decode_to_predict`.
    """
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        if len(line) > _MAX_LINE_BYTES:
            detail = f"line {index + 1}: longer than {_MAX_LINE_BYTES >> 20} MiB"
            yield Rejected(source=source, index=index, detail=detail)
            continue
        try:
            yield (decode_to_predict(line) if to_predict else None) or decode_request(line)
        except InvalidInput as error:
            yield Rejected(source=source, index=index, detail=f"line {index + 1}: {error}")
