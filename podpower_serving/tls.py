"""Certificates of the service. Renewed files are taken up without a restart."""

import logging
import ssl
from pathlib import Path

from podpower.errors import InvalidInput

_log = logging.getLogger("podpower.serving")


class Certificates:
    """Certificate and key of the service, and the CA of its clients, if any.

    `context` is for the server. It hands every handshake over to the context of the newest files, so that a replaced CA
    is not trusted any more.
    """

    def __init__(self, *, certificate: str, key: str, client_ca: str | None = None) -> None:
        """Read the files. InvalidInput when they cannot be used.

        With `client_ca` a client can send a certificate, which must be of that CA; `podpower_serving.access` decides
        where one is needed, since the probes of a kubelet have none.
        """
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._state = self._look()
        self._newest = self._loaded()
        self._problem: object = None
        self.context = self._context()
        self.context.sni_callback = self._hand_over  # called without a server name too
        if client_ca is not None:  # a resumed session would keep the certificate of a CA that was replaced since
            self.context.num_tickets = 0
            self.context.options |= ssl.OP_NO_TICKET

    def refresh(self) -> None:
        """Read the files again if they changed, until that succeeds; broken ones change nothing and are logged once."""
        state = self._look()
        if state == self._state:
            return
        try:
            self._newest = self._loaded()
        except InvalidInput as error:
            if (state, str(error)) != self._problem:
                self._problem = state, str(error)
                _log.error("the certificate is not replaced: %s", error)
            return
        self._state, self._problem = state, None
        _log.info("a renewed certificate is used for new connections")

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _loaded(self) -> ssl.SSLContext:
        files, context = f"{self._certificate} and {self._key}", self._context()
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
            if self._client_ca is not None:
                files = self._client_ca
                context.load_verify_locations(self._client_ca)
        except (OSError, ValueError) as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise InvalidInput(f"{files}: cannot be used for TLS ({reason})") from None
        return context

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_state_of(path) for path in (self._certificate, self._key, self._client_ca) if path is not None]


def _state_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    raise ValueError("the key is encrypted: give one without a password")
