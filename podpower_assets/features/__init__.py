"""Workload specs into vectors."""
