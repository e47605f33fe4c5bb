"""Difference between two sets of workloads: what a change will draw. Pairs, statistics, words, comments. No I/O."""
