"""Evaluation of models on held-out workloads, times and clusters, beside baselines; gate, quarantine and drift."""
