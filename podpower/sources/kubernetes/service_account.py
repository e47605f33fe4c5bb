"""The service account of the pod around this process: the API server's address, its authority, and a rotating token.

It is read without the `kubernetes` package, whose import takes 45 MiB: collectors run in pods for months.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from podpower.errors import InvalidInput

FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class ServiceAccount:
    """Access as `kubernetes.client.Configuration` describes it: the same fields, and the token as the kubelet has
    written it last.
    """

    host: str
    verify_ssl = True
    cert_file = key_file = tls_server_name = None

    @property
    def ssl_ca_cert(self) -> str:
        """The file of the API server's authority."""
        return str(FOLDER / "ca.crt")

    def auth_settings(self) -> dict[str, dict[str, Any]]:
        """Return the authorization header. InvalidInput where the pod has no token."""
        try:
            token = (FOLDER / "token").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the service account of this pod has no token: {error}") from None
        if not token:
            raise InvalidInput(f"the service account of this pod has no token: {FOLDER / 'token'} is empty")
        return {"BearerToken": {"key": "authorization", "value": f"Bearer {token}"}}
