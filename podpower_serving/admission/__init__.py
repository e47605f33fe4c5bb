"""The admission webhook: predictions into the annotations of objects that the API server is about to store.

It always allows, except where a namespace is configured to deny what exceeds its budget. No error of this package may
reach the API server: an object without annotations is better than one that cannot be created.
"""
