"""The journal of a live cluster: its format, its files on a folder or an object store, and its reader.

A module enters when readers and the writer share it; the writer is in `podpower.collector`.
"""
