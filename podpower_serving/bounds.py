"""Bounds of the connections of a server."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Bounds:
    """Bounds of all connections of a server; `draining` ends each connection with its next answer."""

    header_timeout_seconds: float
    body_timeout_seconds: float
    connections: int
    draining: bool = False
