"""AdmissionReview of `admission.k8s.io/v1`: what the API server sends, and the answer to it."""

import base64
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from podpower.errors import InvalidInput

API_VERSION: Final = "admission.k8s.io/v1"
_FORMER: Final = "admission.k8s.io/v1beta1"  # answered in its own version, and not patched
KIND: Final = "AdmissionReview"
MOST_WARNING_CHARACTERS: Final = 250  # the API server cuts a warning after 256
_UID_WITHIN: Final = 4096  # of a body that cannot be read: the API server writes the uid at the beginning
_UID: Final = re.compile(rb'"request"\s{0,8}:\s{0,8}\{\s{0,8}"uid"\s{0,8}:\s{0,8}"([0-9A-Za-z-]{1,64})"')

_Text = Annotated[str, msgspec.Meta(max_length=1024)]


class Review(msgspec.Struct, kw_only=True, frozen=True):
    """The request of a review. `object` and `old_object` are the JSON of the object as it would be and as it was, empty
    or null where there is none.
    """

    uid: Annotated[str, msgspec.Meta(max_length=256)]
    operation: _Text
    name: _Text | None = None
    namespace: _Text | None = None
    sub_resource: _Text | None = msgspec.field(default=None, name="subResource")
    dry_run: bool | None = msgspec.field(default=None, name="dryRun")
    object: msgspec.Raw = msgspec.Raw()
    old_object: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="oldObject")


class _Head(msgspec.Struct, kw_only=True, frozen=True):
    api_version: Any = msgspec.field(default=None, name="apiVersion")
    kind: Any = None
    request: msgspec.Raw = msgspec.Raw()


class _Whole(_Head, kw_only=True, frozen=True):
    request: Review  # type: ignore[assignment]  # narrower


class WrongVersion(InvalidInput):
    """The body is an AdmissionReview of another version, or another kind of object."""


_HEAD: Final = msgspec.json.Decoder(_Head)
_WHOLE: Final = msgspec.json.Decoder(_Whole)
_ENCODER: Final = msgspec.json.Encoder()


def decode(body: bytes) -> Review:
    """Return the request of a review. WrongVersion, or InvalidInput when the body is no AdmissionReview."""
    try:
        body.decode()
        whole = _decoded(body)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise InvalidInput(f"not an AdmissionReview: {error}") from None
    _check_version(whole)
    return whole.request


def _decoded(body: bytes) -> _Whole:
    try:
        return _WHOLE.decode(body)
    except msgspec.ValidationError:
        _check_version(_HEAD.decode(body))  # the request of another version can have another shape
        raise


def _check_version(head: _Head) -> None:
    if head.api_version != API_VERSION or head.kind != KIND:
        raise WrongVersion(f"expected an AdmissionReview of {API_VERSION}")


def uid_of(beginning: bytes) -> str:
    """Return the uid of a body that cannot be read, as far as it is where the API server writes it; else ""."""
    found = _UID.search(beginning[:_UID_WITHIN])
    return found[1].decode() if found else ""


def version_of(beginning: bytes) -> str:
    """Return the version to answer a body in that cannot be read."""
    return _FORMER if _FORMER.encode() in beginning[:_UID_WITHIN] else API_VERSION


def allowed(
    uid: str,
    *,
    outcome: str,
    patch: Sequence[dict[str, Any]] = (),
    warnings: Sequence[str] = (),
    api_version: str = API_VERSION,
) -> bytes:
    """Return the answer that allows the object, changed by a JSON patch (RFC 6902)."""
    response: dict[str, Any] = {"uid": uid, "allowed": True, "auditAnnotations": {"outcome": outcome}}
    if patch:
        kind: Literal["JSONPatch"] = "JSONPatch"
        response |= {"patchType": kind, "patch": base64.b64encode(_ENCODER.encode(patch)).decode()}
    if warnings:
        response["warnings"] = list(warnings)
    return _ENCODER.encode({"apiVersion": api_version, "kind": KIND, "response": response})


def denied(uid: str, *, outcome: str, message: str) -> bytes:
    """Return the answer that denies the object; kubectl shows the message."""
    status = {"code": 403, "reason": "Forbidden", "message": message}
    response = {"uid": uid, "allowed": False, "status": status, "auditAnnotations": {"outcome": outcome}}
    return _ENCODER.encode({"apiVersion": API_VERSION, "kind": KIND, "response": response})
