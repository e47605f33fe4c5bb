"""Predictions for other programs: `Client` and `AsyncClient` ask a service, `Predictor` predicts in process.

All three take the same workloads and return the same types. Nothing here knows how a prediction is made.
"""
