"""Vectors and labels into a model, a model into predictions, and how good those are.

`neighbours` and `intervals` (and `artifacts`, `store`) are on the prediction path: numpy and nothing heavier.
`examples`, `training`, `evaluation`, `baselines` and `report` are offline: polars and scikit-learn. A model is only
ever chosen on workloads that it was not fitted on.
"""
