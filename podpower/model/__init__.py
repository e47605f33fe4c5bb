"""What predicts: the measured entries, the way up from prior to own labels, intervals, and how all that is stored.

This room is on the prediction path: numpy and nothing heavier. `podpower.training` makes models, `podpower.evaluation`
judges them.
"""
