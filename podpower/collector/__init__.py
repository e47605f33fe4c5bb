"""The one list-watch of a cluster with its checkpoint, and its sinks: NDJSON output, POST and journal.

A module enters when it feeds a sink, is one, or reads what a sink keeps of a live cluster.
"""
