"""Why the energy of a step is not known. The worst of a pod's series decides for the pod."""

FIRST_STEP = "first_step"  # the pod's first sample lies inside the step
LAST_STEP = "last_step"  # the pod's last sample lies inside the step
SHORT_LIVED = "short_lived"  # the pod lived inside the step
CONTAINER_CHANGED = "container_changed"  # a container of the pod began or ended inside the step
COUNTER_RESET = "counter_reset"  # a counter began anew inside the step: what it had counted last is lost
GAP = "gap"  # samples are missing around an edge of the step
PARTIAL_ANSWER = "partial_answer"  # the source of samples said that some may be missing
PARTLY_UNKNOWN = "partly_unknown"  # job mode: some step of the pod's life is not known
REFERENCE_NULL = "not_reported"  # a file of the reference system had no energy here

REASONS = (
    FIRST_STEP,
    LAST_STEP,
    SHORT_LIVED,
    CONTAINER_CHANGED,
    COUNTER_RESET,
    GAP,
    PARTIAL_ANSWER,
    PARTLY_UNKNOWN,
    REFERENCE_NULL,
)
