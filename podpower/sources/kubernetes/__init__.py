"""A live cluster as a source of objects: raw JSON over HTTP, listed in pages and watched from there.

A module enters when it configures or makes requests to the API server.
"""
