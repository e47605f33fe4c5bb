"""Metrics of a watch, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


class Metrics:
    """Counts events, lines, lists, interruptions and posts; `serve` exposes them at /metrics."""

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
            "podpower_watch_last_event_timestamp_seconds", "Time of the last change.", registry=self.registry
        )

    def serve(self, host: str, port: int) -> int:
        """Expose /metrics in a thread of its own; return the port. OSError when it is taken."""
        server, _thread = start_http_server(port, addr=host, registry=self.registry)
        return int(server.server_port)

    def changed(self, resource: str, event: str) -> None:
        """Count a change of an object."""
        self._events.labels(resource, event).inc()
        self._last.set(time.time())

    def written(self, lines: int) -> None:
        """Count lines that were written."""
        self._lines.inc(lines)

    def rejected(self) -> None:
        """Count an object that cannot be read."""
        self._rejected.inc()

    def listed(self, resource: str) -> None:
        """Count a complete list."""
        self._lists.labels(resource).inc()

    def interrupted(self, resource: str, reason: str) -> None:
        """Count a watch that broke, or whose history was gone."""
        self._interruptions.labels(resource, reason).inc()

    def posted(self, outcome: str) -> None:
        """Count a request to --post: sent, refused or retried."""
        self._posts.labels(outcome).inc()

    def queued(self, lines: int) -> None:
        """Set the number of lines that wait to be posted."""
        self._queue.set(lines)
