"""Supervised training on class labels, exactly resumable."""
