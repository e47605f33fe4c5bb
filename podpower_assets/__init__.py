"""Dagster definitions of podpower: what is stored where, when it is made anew, and what must hold before it is used.

A body reads, calls one function of `podpower`, and writes; whatever needs no Dagster belongs there.
"""
