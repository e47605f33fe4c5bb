"""Bodies into requests, by media type."""

from collections.abc import Sequence
from typing import Any, Final

from podpower.errors import InvalidInput
from podpower.specs import json_values
from podpower.specs.documents import Rejected
from podpower.specs.manifests import read_manifests
from podpower.specs.ndjson import request_from_dict
from podpower.specs.requests import InferenceRequest
from podpower_serving.errors import Unreadable, WrongMediaType
from podpower_serving.schemas import RowError

JSON: Final = "application/json"
YAML_TYPES: Final = ("application/yaml", "application/x-yaml", "text/plain", "text/yaml", "text/x-yaml")
_CHARSETS: Final = {"utf-8", "utf8", "us-ascii", "ascii"}
_SOURCE: Final = "body"


def check_media_type(header: str | None, encoding: str | None, *, accepted: Sequence[str]) -> str:
    """The media type of Content-Type without its parameters; the first of `accepted` where there is no header.

    WrongMediaType when it is none of `accepted`, not in UTF-8, or compressed.
    """
    if encoding and encoding.strip().lower() != "identity":
        raise WrongMediaType(f"Content-Encoding {encoding} is not read: send the body as it is")
    media_type, *parameters = (header or accepted[0]).split(";")
    media_type = media_type.strip().lower()
    if media_type not in accepted:
        raise WrongMediaType(f"Content-Type {media_type} is not read here: use {' or '.join(accepted)}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _CHARSETS:
            raise WrongMediaType(f"charset {value.strip()} is not read: send UTF-8")
    return media_type


def one_request(body: bytes) -> InferenceRequest:
    """The InferenceRequest in a JSON body. Unreadable when it is no JSON, InvalidInput when it is no request."""
    return request_from_dict(_json(body))


def one_manifest(body: bytes, *, max_rows: int) -> InferenceRequest:
    """The only workload in a body of manifests; objects without pods beside it are passed over.

    Unreadable when it is no YAML, InvalidInput when there is no workload, a broken one, or several.
    """
    requests = manifests(body, max_rows=max_rows)
    if len(requests) > 1:
        raise InvalidInput(f"{len(requests)} workloads, and this path takes one: send them to /predict/batch")
    return requests[0]


def manifests(body: bytes, *, max_rows: int) -> list[InferenceRequest]:
    """The workloads, at least one, in a body of manifests. Unreadable and InvalidInput as `one_manifest`."""
    requests, rejected = read_manifests(_text(body), source=_SOURCE, max_objects=max_rows)
    broken = [entry for entry in rejected if entry.reason == "broken"]
    if broken:
        kind = Unreadable if _is_unreadable(broken[0]) else InvalidInput
        where = f"document {broken[0].index}: " if broken[0].index else ""
        raise kind(f"{where}{broken[0].detail}")
    if not requests:
        why = rejected[0].detail if rejected else "there is no object in it"
        raise InvalidInput(f"no workload in the manifest ({why}): send a Deployment, a Job or another kind with pods")
    return requests


def batch(body: bytes, *, media_type: str, max_rows: int) -> tuple[list[InferenceRequest], list[RowError]]:
    """All requests in a JSON list of InferenceRequests or in manifests, and what is wrong with the others.

    Unreadable when nothing can be read, InvalidInput when it is no list or too long.
    """
    if media_type == JSON:
        rows = _json(body)
        if isinstance(rows, list):
            _check_length(len(rows), max_rows)
            return _each(rows)
        if not (isinstance(rows, dict) and "kind" in rows):  # kubectl get -o json gives a List
            raise InvalidInput("expected a JSON list of InferenceRequests; send a single one to /predict")
    requests, rejected = read_manifests(_text(body), source=_SOURCE, max_objects=max_rows)
    if not requests and rejected and all(_is_unreadable(entry) for entry in rejected):
        raise Unreadable(rejected[0].detail)
    if not requests and not rejected:
        raise InvalidInput("there is no object in the body: send manifests, or a JSON list of InferenceRequests")
    return requests, [RowError(index=entry.index, detail=entry.detail, reason=entry.reason) for entry in rejected]


def _each(rows: Sequence[Any]) -> tuple[list[InferenceRequest], list[RowError]]:
    requests, errors = [], []
    for index, row in enumerate(rows):
        try:
            requests.append(request_from_dict(row))
        except InvalidInput as error:
            errors.append(RowError(index=index, detail=str(error)))
    return requests, errors


def _check_length(count: int, most: int) -> None:
    if count > most:
        raise InvalidInput(f"{count} rows in one batch: send at most {most} at a time")


def _json(body: bytes) -> Any:
    text = _text(body)
    try:
        return json_values.value_of(text)
    except InvalidInput as error:
        raise Unreadable(str(error)) from None


def _text(body: bytes) -> bytes:
    if not body.strip():
        raise Unreadable("the body is empty: send a workload")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not valid UTF-8: byte {error.start} is {body[error.start]:#04x}") from None
    return body.removeprefix(b"\xef\xbb\xbf")


def _is_unreadable(entry: Rejected) -> bool:
    # What the parser could not read begins so; what it read and did not understand names a field.
    return entry.detail.startswith("not valid ")
