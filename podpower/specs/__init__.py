"""Manifests and API objects into `InferenceRequest`s: documents, normalising, redaction, hash, owners over time.

A module enters when it is a function of the bytes or objects that it gets: it opens no file and calls no cluster.
"""
