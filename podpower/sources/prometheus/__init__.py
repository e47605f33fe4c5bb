"""Prometheus, and what speaks its API (Thanos, Mimir, VictoriaMetrics), as a source of samples."""
