"""Metrics of a watch, in Prometheus' own client library."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


class Counting:
    """Counts; `serve` answers /metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "podpower_watch_events", "Changes of objects.", ["resource", "event"], registry=self.registry
        )
        self._lines = Counter("podpower_watch_lines", "Lines written.", registry=self.registry)
        self._rejected = Counter("podpower_watch_rejected", "Objects that cannot be read.", registry=self.registry)
        self._lists = Counter("podpower_watch_lists", "Complete lists.", ["resource"], registry=self.registry)
        self._interruptions = Counter(
            "podpower_watch_interruptions", "Watches that broke.", ["resource", "reason"], registry=self.registry
        )
        self._posts = Counter("podpower_watch_posts", "Requests to --post.", ["outcome"], registry=self.registry)
        self._queue = Gauge("podpower_watch_queue_lines", "Lines that wait to be posted.", registry=self.registry)
        self._last = Gauge(
            "podpower_watch_last_event_timestamp_seconds", "When the last change came.", registry=self.registry
        )

    def serve(self, host: str, port: int) -> int:
        """Answer in a thread of its own; returns the port. OSError when it is taken."""
        server, _thread = start_http_server(port, addr=host, registry=self.registry)
        return int(server.server_port)

    def happened(self, resource: str, event: str) -> None:
        """An object changed."""
        self._events.labels(resource, event).inc()
        self._last.set(time.time())

    def written(self, lines: int) -> None:
        """Lines were written."""
        self._lines.inc(lines)

    def rejected(self) -> None:
        """An object could not be read."""
        self._rejected.inc()

    def listed(self, resource: str) -> None:
        """A kind was listed whole."""
        self._lists.labels(resource).inc()

    def interrupted(self, resource: str, reason: str) -> None:
        """A watch broke, or its history was gone."""
        self._interruptions.labels(resource, reason).inc()

    def posted(self, outcome: str) -> None:
        """A line was sent, refused, or has to be sent again."""
        self._posts.labels(outcome).inc()

    def queued(self, lines: int) -> None:
        """So many lines wait."""
        self._queue.set(lines)
