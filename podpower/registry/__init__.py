"""Artifacts, versions and promotion of models."""
