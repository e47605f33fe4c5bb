"""Dagster definitions of podpower: what is stored where, when it is made again, and which checks guard it.

An asset body reads, calls one function of `podpower`, and writes. Code that needs no Dagster belongs into `podpower`.
"""

import warnings

import dagster as dg

# Dagster warns at each import that backfill policies and look-back mappings are beta; our tests cover them.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
