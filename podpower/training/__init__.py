"""Training: examples into a model. Each entry is predicted from the others, and all constants are learned from that.

A model is only ever chosen on workloads that it was not fitted on.
"""
