"""From Kepler's counters to joules."""
