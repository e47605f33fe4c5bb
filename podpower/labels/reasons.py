"""Reasons why the energy of a step or of a pod's life is unknown. A step keeps its worst one."""

FIRST_STEP = "first_step"  # the pod's first sample is inside the step
LAST_STEP = "last_step"  # the pod's last sample is inside the step
SHORT_LIVED = "short_lived"  # the pod's first and last sample lie inside the step, or it has one sample in all
CONTAINER_CHANGED = "container_changed"  # a container of the pod began or ended inside the step
COUNTER_RESET = "counter_reset"  # a counter began anew inside the step: what it had counted last is lost
GAP = "gap"  # samples are missing around an edge of the step
IMPLAUSIBLE = "implausible"  # a counter rose by more than a node can draw
PARTIAL_ANSWER = "partial_answer"  # the source of samples left some out
NEVER_SAMPLED = "never_sampled"  # job mode: no sample of the pod exists
REFERENCE_NULL = "not_reported"  # a file of the reference system had no energy here
