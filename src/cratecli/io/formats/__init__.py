"""Masks out: one file a format."""
