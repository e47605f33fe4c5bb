"""Parse request bodies, by media type."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from podpower.errors import InvalidInput
from podpower.kubernetes.limits import MAX_NODES
from podpower.numbers import whole_number_in
from podpower.specs import json_values
from podpower.specs.documents import Rejected
from podpower.specs.manifests import read_manifests
from podpower.specs.messages import NO_MANIFEST
from podpower.specs.ndjson import decode_to_predict, request_from_dict
from podpower.specs.quoting import quoted
from podpower.specs.requests import InferenceRequest
from podpower.specs.selection import Options, Workloads
from podpower_serving.errors import Unreadable, WrongMediaType

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
YAML_TYPES: Final = ("application/yaml", "application/x-yaml", "text/plain", "text/yaml", "text/x-yaml")
_CHARSETS: Final = {"utf-8", "utf8", "us-ascii", "ascii"}
_SOURCE: Final = "body"
OPTIONS: Final = ("nodes", "lenient", "cluster", "node_type")  # query parameters of paths that read manifests
MAX_NAME: Final = 253
_MAX_WORD: Final = 48
_LARGE: Final = 1 << 16  # bytes
_LINES_BYTES: Final = 1 << 16  # that are cut into lines at a time
_BYTES_AN_OBJECT: Final = 16  # a request takes twice as many for each of its objects
_ONE_LINE: Final = "; the body is one line: curl -d removes line breaks, --data-binary keeps them"
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def check_media_type(header: str | None, encoding: str | None, *, accepted: Sequence[str]) -> str:
    """Return the media type of Content-Type without its parameters; the first of `accepted` without a header.

    WrongMediaType when it is none of `accepted`, not in UTF-8, or compressed.
    """
    if encoding and encoding.strip().lower() != "identity":
        raise WrongMediaType(f"Content-Encoding {quoted(encoding)} is not read: send the body as it is")
    media_type, *parameters = (header or accepted[0]).split(";")
    media_type = media_type.strip().lower()
    if media_type not in accepted:
        raise WrongMediaType(f"Content-Type {quoted(media_type)} is not read here: use {' or '.join(accepted)}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _CHARSETS:
            raise WrongMediaType(f"charset {quoted(value.strip())} is not read: send UTF-8")
    return media_type


def one_request(body: bytes) -> InferenceRequest:
    """Parse a JSON body for a prediction: its labels and annotations are not redacted.

    Unreadable when it is not JSON, InvalidInput when it is not an InferenceRequest.
    """
    request = decode_to_predict(_text(body))
    return request_from_dict(json_value(body)) if request is None else request


def one_manifest(body: bytes, options: Options) -> InferenceRequest:
    """Parse the only workload in a body of manifests.

    Unreadable when it is not YAML, InvalidInput when there is no workload, a broken one, or several.
    """
    requests = manifests(body, options)
    if len(requests) > 1:
        raise InvalidInput(f"{len(requests)} workloads, and this path takes one: send them to /predict/batch")
    return requests[0]


def manifests(body: bytes, options: Options) -> list[InferenceRequest]:
    """Parse the workloads, at least one, in a body of manifests. Unreadable and InvalidInput as `one_manifest`."""
    workloads = read_manifests(_text(body), source=_SOURCE, options=options)
    if workloads.errors:
        first = workloads.errors[0]
        kind = Unreadable if _is_unreadable(first) else InvalidInput
        where = f"document {first.index + 1}: " if first.index else ""
        raise kind(f"{where}{first.detail}{_one_line(body)}")
    if not workloads.requests:
        first_skipped = next(
            (f"{quoted(s.kind)}/{quoted(s.name)}: {s.reason}" for s in workloads.skipped), "there is no object in it"
        )
        raise InvalidInput(
            f"no workload in the manifest ({first_skipped}): send a Deployment, a Job or another kind with pods"
            f"{_one_line(body)}"
        )
    return workloads.requests


def batch(body: bytes, *, media_type: str, options: Options) -> Workloads:
    """Parse a JSON list of InferenceRequests, or manifests, with skipped objects and errors.

    Unreadable when nothing can be read, InvalidInput when the body is not a list or too long, or holds no manifest.
    """
    found = rows_in(body, media_type=media_type, options=options)
    return found if isinstance(found, Workloads) else _each(found, options)


def rows_in(body: bytes, *, media_type: str, options: Options) -> Workloads | Sequence[msgspec.Raw | bytes]:
    """Return the rows of a JSON list or of lines, each unread, or the workloads of manifests. Raises as `batch`."""
    if media_type == NDJSON:
        return lines(body, options.max_objects)
    if media_type == JSON:
        if (rows := _rows(body)) is not None:
            _check_length(len(rows), options.max_objects)
            return rows
        value = json_value(body)
        if not (isinstance(value, dict) and "kind" in value):  # kubectl get -o json gives a List
            raise InvalidInput("expected a JSON list of InferenceRequests; send a single one to /predict")
    workloads = read_manifests(_text(body), source=_SOURCE, options=options)
    if not workloads.requests and not workloads.skipped:
        if not workloads.errors:
            raise InvalidInput(
                f"there is no object in the body: send manifests, or a JSON list of InferenceRequests{_one_line(body)}"
            )
        if all(_is_unreadable(entry) for entry in workloads.errors):
            raise Unreadable(f"{workloads.errors[0].detail}{_one_line(body)}")
        if all(NO_MANIFEST in entry.detail for entry in workloads.errors):
            raise InvalidInput(workloads.errors[0].detail)
    return workloads


def rows(data: bytes, options: Options) -> Workloads:
    """Parse a JSON list of InferenceRequests, each row by itself. InvalidInput when it is too long."""
    found = _ROWS.decode(data)
    _check_length(len(found), options.max_objects)
    return _each(found, options)


def check_query(names: Iterable[str], *, known: Sequence[str]) -> None:
    """Raise InvalidInput for a query parameter that is none of `known`, with the nearest of them, and for one that is
    given again.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidInput(f"{name}: given more than once")
        if name in known:
            seen.add(name)
            continue
        if not known:
            raise InvalidInput(f'"{quoted(name)}": this path has no query parameters')
        near = difflib.get_close_matches(name[:_MAX_WORD], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise InvalidInput(f'no query parameter "{quoted(name)}"; {hint}')


def options_of(query: Mapping[str, str], *, max_rows: int) -> Options:
    """Return how manifests are read, from query parameters. InvalidInput names the parameter."""
    return Options(
        max_objects=max_rows,
        cluster=_name("cluster", query.get("cluster")),
        node_type=_name("node_type", query.get("node_type")),
        nodes=_nodes(query.get("nodes")),
        lenient=_flag("lenient", query.get("lenient")),
    )


def _name(name: str, text: str | None) -> str | None:
    if text and text != quoted(text, most=MAX_NAME):
        raise InvalidInput(f"{name}: must be a name of at most {MAX_NAME} plain characters")
    return text or None


def _nodes(text: str | None) -> int | None:
    if text is None:
        return None
    value = whole_number_in(text)
    if value is None or len(text) > len(str(MAX_NODES)):
        raise InvalidInput(f'nodes: must be a whole number from 0 to {MAX_NODES}; got "{quoted(text)}"')
    return value


def _flag(name: str, text: str | None) -> bool:
    if text in {None, "false", "0"}:
        return False
    if text in {"", "true", "1"}:
        return True
    raise InvalidInput(f'{name}: must be true or false; got "{quoted(text)}"')


def _rows(body: bytes) -> list[msgspec.Raw] | None:
    """Return the rows of a JSON list, each unread; None where the body is no list."""
    text = _text(body)
    if len(text) > _LARGE and text.count(b"{") * _BYTES_AN_OBJECT > len(text):
        raise InvalidInput("the body is mostly empty objects: send manifests, or a JSON list of InferenceRequests")
    try:
        return _ROWS.decode(text)
    except (ValueError, RecursionError):
        return None


def _each(rows: Sequence[msgspec.Raw | bytes], options: Options) -> Workloads:
    workloads = Workloads()
    workloads.add((row(index, text) for index, text in enumerate(rows)), options)
    return workloads


def lines(body: bytes, most: int | None) -> list[bytes]:
    """Return the lines of an NDJSON body without empty ones. Unreadable when it is empty or not UTF-8, InvalidInput
    when it has more than `most`.
    """
    found: list[bytes] = []
    count = 0
    for line in _cut(_utf8(body)):
        if line.strip():
            count += 1
            if most is None or count <= most:
                found.append(line)
    _check_length(count, most)
    return found


def _cut(text: bytes) -> Iterator[bytes]:
    """Yield the lines of a text, of which there can be millions, a part of it at a time."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + _LINES_BYTES)
        end = len(text) if end < 0 else end
        yield from text[start:end].split(b"\n")
        start = end + 1


def row(index: int, text: msgspec.Raw | bytes) -> InferenceRequest | Rejected:
    """Parse one row of a batch; a broken one is returned as such."""
    try:
        json_values.check_density(bytes(text))  # of lines, each by itself
        request = decode_to_predict(text)
        return request_from_dict(json_values.value_of(bytes(text))) if request is None else request
    except InvalidInput as error:
        return Rejected(source=_SOURCE, index=index, detail=str(error))


def _one_line(body: bytes) -> str:
    """Return a hint for a manifest that lost its line breaks, as of `curl -d @FILE`."""
    return _ONE_LINE if b"apiVersion: " in body and b"\n" not in body.strip() else ""


def _check_length(count: int, most: int | None) -> None:
    if most is not None and count > most:
        raise InvalidInput(f"{count} rows in one batch: send at most {most} at a time")


def json_value(body: bytes) -> Any:
    """Return the value of a JSON body. Unreadable when it is none."""
    text = _text(body)
    try:
        return json_values.value_of(text)
    except InvalidInput as error:
        raise Unreadable(str(error)) from None


def json_fields(body: bytes) -> dict[str, msgspec.Raw] | None:
    """Return the fields of a JSON object, each as it is written; None for another value. Raises as `json_value`."""
    try:
        return json_values.fields_of(_text(body))
    except InvalidInput as error:
        raise Unreadable(str(error)) from None


def _text(body: bytes) -> bytes:
    text = _utf8(body)
    json_values.check_density(text)
    return text


def _utf8(body: bytes) -> bytes:
    if not body.strip():
        raise Unreadable("the body is empty: send a workload")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not valid UTF-8: byte {error.start} is {body[error.start]:#04x}") from None
    return body.removeprefix(b"\xef\xbb\xbf")


def _is_unreadable(entry: Rejected) -> bool:
    # Messages of the parser begin with these words; messages about its values name a field.
    return entry.detail.startswith("not valid ")
