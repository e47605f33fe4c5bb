"""Prediction: measured entries, partial pooling from the prior to a spec's own labels, intervals and totals.

This room is on the prediction path: numpy and nothing heavier. `podpower.training` makes models, `podpower.evaluation`
judges them.
"""
