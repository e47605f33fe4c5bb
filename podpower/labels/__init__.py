"""Energy counters into watts and joules a step: what is not known is null, with the reason.

Functions of samples; what is asked of a source is asked through `podpower.sources.protocols`.
"""

from podpower.labels.exporting import Asked, Labels, WindowExport, label_jobs, label_windows, no_labels
from podpower.labels.table import read_labels, write_labels

__all__ = ["Asked", "Labels", "WindowExport", "label_jobs", "label_windows", "no_labels", "read_labels", "write_labels"]
