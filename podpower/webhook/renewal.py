"""Renewal in a cluster: the Secret that holds the certificates, the webhook that trusts them, and the files of a pod.

Several pods do this at once: an object is replaced only in the version that was read, else everything is read again. A
new authority is trusted by the webhook before a certificate of it is in the Secret.
"""

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from podpower.errors import Unavailable
from podpower.sources.kubernetes.api import Api, Conflict
from podpower.sources.kubernetes.chart_objects import read_chart_object
from podpower.webhook.certificates import Certificates, dns_names, ends_at, renewed

PEM_FILE: Final = "tls.pem"  # key and certificates in one file: a reader never sees halves of two
_FIELDS: Final = {"ca.crt": "authorities", "ca.key": "authority_key", "tls.crt": "leaf", "tls.key": "leaf_key"}
_ATTEMPTS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Place:
    """Names of the objects: the Secret and the Service in `namespace`, and the MutatingWebhookConfiguration."""

    namespace: str
    secret: str
    service: str
    webhook: str

    @property
    def secret_path(self) -> str:
        """The Secret in the API."""
        return f"/api/v1/namespaces/{self.namespace}/secrets/{self.secret}"

    @property
    def webhook_path(self) -> str:
        """The webhook in the API."""
        return f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{self.webhook}"


async def renew(api: Api, place: Place, *, folder: Path, now: datetime, note: Callable[[str], None]) -> datetime:
    """Bring Secret, webhook and the file in `folder` up to date; return the end of the certificate.

    InvalidInput where an object does not exist, Unavailable where other pods keep changing them.
    """
    for _ in range(_ATTEMPTS):
        try:
            found = await _renewed_once(api, place, now, note)
        except Conflict:
            continue
        write(folder, found)
        return ends_at(found.leaf)
    raise Unavailable(f"Secret {place.namespace}/{place.secret} is changed by others all the time")


async def _renewed_once(api: Api, place: Place, now: datetime, note: Callable[[str], None]) -> Certificates:
    """Conflict where another pod changed an object meanwhile."""
    secret = await read_chart_object(api, place.secret_path, name=f"Secret {place.namespace}/{place.secret}")
    present = present_in(secret)
    wanted = renewed(present, dns_names(place.service, place.namespace), now)
    await _trust(api, place, wanted, note)
    if wanted != present:
        data = {**(secret.get("data") or {}), **encoded_fields(wanted)}
        await api.replace(place.secret_path, {**secret, "data": data})
        note(f"issued a certificate until {ends_at(wanted.leaf):%Y-%m-%d}, of an authority until "
             f"{ends_at(wanted.authorities):%Y-%m-%d}")  # fmt: skip
    return wanted


async def _trust(api: Api, place: Place, wanted: Certificates, note: Callable[[str], None]) -> None:
    """Let the webhook trust the authorities."""
    webhook = await read_chart_object(api, place.webhook_path, name=f"MutatingWebhookConfiguration {place.webhook}")
    bundle = _encoded(wanted.authorities)
    if all(one.get("clientConfig", {}).get("caBundle") == bundle for one in webhook.get("webhooks") or ()):
        return
    webhooks = [
        {**one, "clientConfig": {**one.get("clientConfig", {}), "caBundle": bundle}}
        for one in webhook.get("webhooks") or ()
    ]
    await api.replace(place.webhook_path, {**webhook, "webhooks": webhooks})
    note(f"webhook {place.webhook} trusts the authority until {ends_at(wanted.authorities):%Y-%m-%d}")


def encoded_fields(certificates: Certificates) -> dict[str, str]:
    """Return `data` of a Secret that holds the certificates."""
    return {key: _encoded(getattr(certificates, field)) for key, field in _FIELDS.items()}


def present_in(secret: Mapping[str, Any]) -> Certificates | None:
    """Return the certificates of a Secret; None where it has none yet."""
    data = secret.get("data") or {}
    if not _FIELDS.keys() <= data.keys():
        return None
    try:
        return Certificates(**{field: _decoded(data[key]) for key, field in _FIELDS.items()})
    except (ValueError, binascii.Error):
        return None


def write(folder: Path, found: Certificates) -> None:
    """Write key and certificates in one file, for this user only, whole or not at all."""
    target, text = folder / PEM_FILE, found.leaf_key + found.leaf
    if target.exists() and target.read_text() == text:
        return
    aside = folder / f".{PEM_FILE}.{os.getpid()}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    aside.replace(target)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()
