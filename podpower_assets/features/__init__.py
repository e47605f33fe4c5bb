"""From workload specs to vectors."""
