"""Kubernetes API objects: fields, kinds, quantities, images, times and owner chains.

A module enters when it needs an object only: no I/O, no redaction, nothing of podpower's own schemas.
"""
