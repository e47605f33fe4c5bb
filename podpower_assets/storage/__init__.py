"""Dagster's history on SQLite or PostgreSQL: its own storages, which remember the states of checks."""
