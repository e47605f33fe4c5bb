"""`InferenceRequest`s into vectors: the one encoder that training and serving share.

Only numpy may enter here, so that the service stays light; `table` (polars) and `sbert` (sentence-transformers)
are imported by those who need them. Nothing here knows labels.
"""
