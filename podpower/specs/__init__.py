"""Manifests and API objects into `InferenceRequest`s: reading, normalising, redaction, hash, owners over time.

Everything here is a function of the bytes or objects it is given; no file is opened and nothing is asked of a cluster.
"""
