"""Energy counters into watts and joules: what is not known is null, with the reason.

Functions of samples; sources of samples come through `podpower.sources.protocols`.
"""

from podpower.labels.exporting import Labels, WindowExport, label_windows, no_labels
from podpower.labels.pieces import LabelRequest
from podpower.labels.pod_life_export import JobExport, label_ended_pods, label_jobs
from podpower.labels.pod_lives import with_runs
from podpower.labels.table import read_labels

__all__ = [
    "JobExport",
    "LabelRequest",
    "Labels",
    "WindowExport",
    "label_ended_pods",
    "label_jobs",
    "label_windows",
    "no_labels",
    "read_labels",
    "with_runs",
]
