"""Certificates of the service. Renewed files are taken up without a restart."""

import logging
import ssl
from pathlib import Path

from podpower.errors import InvalidInput
from podpower.io.streams import is_stream
from podpower_serving.watched_files import WatchedFiles

_log = logging.getLogger("podpower.serving")


class Certificates(WatchedFiles[ssl.SSLContext]):
    """Certificate and key of the service, and the CA of its clients, if any.

    `context` is for the server. It hands every handshake over to the context of the newest files, so that a replaced CA
    is not trusted any more.
    """

    def __init__(self, *, certificate: str, key: str, client_ca: str | None = None) -> None:
        """Read the files. InvalidInput when they cannot be used.

        With `client_ca` a client can send a certificate, which must be of that CA; `podpower_serving.access` decides
        where one is needed, since the probes of a kubelet have none.
        """
        super().__init__(*(Path(path) for path in (certificate, key, client_ca) if path is not None))
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._newest = self._read()
        self.context = self._context()
        self.context.sni_callback = self._hand_over  # called without a server name too
        if client_ca is not None:  # a resumed session would keep the certificate of a CA that was replaced since
            self.context.num_tickets = 0
            self.context.options |= ssl.OP_NO_TICKET

    def _use(self, content: ssl.SSLContext) -> None:
        self._newest = content
        _log.info("a renewed certificate is used for new connections")

    def _report(self, detail: str) -> None:
        _log.error("the certificate is not replaced: %s", detail)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _read(self) -> ssl.SSLContext:
        files, context = f"{self._certificate} and {self._key}", self._context()
        for path in self._paths:
            if is_stream(path):
                raise InvalidInput(f"{path}: cannot be used for TLS (a pipe, a socket or a device)")
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


def _no_password() -> str:
    raise ValueError("the key is encrypted: give one without a password")
