"""Kepler's counters into joules."""
