"""Know what a Kubernetes workload will draw before it runs: the pipeline as plain functions.

Nothing in this package knows Dagster or Litestar. Data walks one way:
`sources` -> `specs` -> `features`; `sources` -> `labels`; both -> `datasets` -> `training` -> `model` -> `registry`.
docs/explanation/architecture.md is the map.
"""

__version__ = "0.1.0"
