"""The prediction service: HTTP around `podpower.model.predictor`.

Only here are errors given HTTP statuses. Nothing heavier than the prediction path may enter: no dagster, no tables.
"""
