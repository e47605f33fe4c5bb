"""Kubernetes API objects: fields, kinds, quantities, images and owner chains.

No I/O and no redaction happen here.
"""
