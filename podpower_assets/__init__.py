"""Dagster definitions of podpower: what is stored where, when it is made again, and which checks guard it.

A body reads, calls one function of `podpower`, and writes; whatever needs no Dagster belongs there.
"""

import warnings

import dagster as dg

# Backfill policies and look-back mappings are called beta at every import; what we use of them is tested.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
