"""Changes of objects into the workload specs of an hour."""
