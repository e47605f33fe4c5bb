"""Metadata of candidates, the stored models of a day: which they were compared with, and which checks they failed.

`podpower.evaluation.gate` decides by it which candidate is promoted.
"""

# Keys of a candidate's metadata: its day, the served version it was compared with, the comparison, the workloads whose
# labels were not used, failed checks, and the verdicts and alarms of its evaluation in words.
PARTITION, COMPARED_WITH, COMPARISON, FAILED_CHECKS = "partition", "judged_against", "judgement", "failed_checks"
QUARANTINED = "quarantined"
VERDICTS, ALARMS = "verdicts", "alarms"
