"""Metrics of a watch, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


class Metrics:
    """Counts events, lines, lists, interruptions, posts and flushes; `serve` exposes them at /metrics."""

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
        self._flushes = Counter("podpower_journal_flushes", "Flushes that were stored.", registry=self.registry)
        self._flush_failures = Counter(
            "podpower_journal_flush_failures", "Writes to the journal that are tried again.", registry=self.registry
        )
        self._last_flush = Gauge(
            "podpower_journal_last_flush_timestamp_seconds", "Time of the last flush.", registry=self.registry
        )
        self._reached = 0.0
        self._lag = Gauge(
            "podpower_journal_lag_seconds", "Seconds since the time up to which the journal has everything.",
            registry=self.registry,
        )  # fmt: skip
        self._lag.set_function(lambda: time.time() - self._reached if self._reached else 0.0)
        self._waiting = Gauge(
            "podpower_journal_waiting_events", "Events that are not stored yet.", registry=self.registry
        )
        self._compacted = Counter("podpower_journal_compacted_hours", "Hours compacted.", registry=self.registry)
        self._gaps = Counter(
            "podpower_journal_gaps", "Times in which changes of a stream were not seen.", registry=self.registry
        )
        self._gap_seconds = Counter("podpower_journal_gap_seconds", "Their length.", registry=self.registry)
        self._damaged = Counter(
            "podpower_journal_damaged", "Damaged lines and objects of the journal.", registry=self.registry
        )
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

    def flushed(self, *, reached_s: float, waiting: int) -> None:
        """Count a flush of a journal that has everything up to `reached_s`, and events that wait for the next one."""
        self._flushes.inc()
        self._last_flush.set(time.time())
        self._reached = reached_s
        self._waiting.set(waiting)

    def flush_failed(self, waiting: int) -> None:
        """Count a write that failed and is tried again."""
        self._flush_failures.inc()
        self._waiting.set(waiting)

    def compacted(self) -> None:
        """Count an hour that was compacted."""
        self._compacted.inc()

    def gap(self, seconds: float) -> None:
        """Count a time in which changes of a stream were not seen."""
        self._gaps.inc()
        self._gap_seconds.inc(seconds)

    def damaged(self, number: int) -> None:
        """Count damaged lines and objects."""
        self._damaged.inc(number)
