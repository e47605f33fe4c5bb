"""TrainingSet rows into a model: aggregated, each entry predicted from the others, and all constants learned from that.

A model is only ever chosen on workloads that it was not fitted on.
"""
