"""A simulated cluster, written as a recording, with the true energy of each pod beside it."""

from podpower.simulation.running import change_workload, follow, simulate, simulate_again

__all__ = ["change_workload", "follow", "simulate", "simulate_again"]
