"""Certificates of the service. Renewed files are taken up without a restart."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from podpower.errors import InvalidInput
from podpower.io.streams import is_stream

_log = logging.getLogger("podpower.serving")


State = list[tuple[int, int, int] | None]  # times, sizes and numbers of files


@dataclass(frozen=True, kw_only=True)
class SeenFiles:
    """The files at one look: their state, and what was loaded because it changed, or why nothing could be."""

    state: State
    context: ssl.SSLContext | None = None
    error: str | None = None


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
        self._paths = [path for path in (certificate, key, client_ca) if path is not None]
        self._state = self._current()
        self._newest = self._loaded()
        self._problem: object = None
        self.context = self._context()
        self.context.sni_callback = self._hand_over  # called without a server name too
        if client_ca is not None:  # a resumed session would keep the certificate of a CA that was replaced since
            self.context.num_tickets = 0
            self.context.options |= ssl.OP_NO_TICKET

    def look(self) -> SeenFiles:
        """Read the files if they changed, until that succeeds."""
        state = self._current()
        if state == self._state:
            return SeenFiles(state=state)
        try:
            return SeenFiles(state=state, context=self._loaded())
        except InvalidInput as error:
            return SeenFiles(state=state, error=str(error))

    def take(self, seen: SeenFiles) -> None:
        """Use what was read for new connections, if anything; broken files change nothing and are logged once."""
        if seen.error is not None:
            self._report(seen.error, state=seen.state)
            return
        self._problem = None
        if seen.context is not None:
            self._newest, self._state = seen.context, seen.state
            _log.info("a renewed certificate is used for new connections")

    def refuse(self, detail: str) -> None:
        """Report why the files are not read; once while that stays."""
        self._report(detail, state=None)

    def _report(self, detail: str, *, state: object) -> None:
        if (state, detail) != self._problem:
            self._problem = state, detail
            _log.error("the certificate is not replaced: %s", detail)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _loaded(self) -> ssl.SSLContext:
        files, context = f"{self._certificate} and {self._key}", self._context()
        for path in self._paths:
            if is_stream(Path(path)):
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

    def _current(self) -> State:
        return [_state_of(path) for path in self._paths]


def _state_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    raise ValueError("the key is encrypted: give one without a password")
