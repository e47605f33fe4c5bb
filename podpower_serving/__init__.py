"""The prediction service: HTTP around `podpower.predicting`, and nothing that could not be told in verbs and schemas.

Only here are errors given HTTP statuses. Nothing heavier than the prediction path may enter: no dagster, no tables.
"""
