"""Certificates of the admission webhook: issued, renewed, and made known to the API server."""
