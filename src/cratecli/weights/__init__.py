"""Weights: a name of the registry, its verified file, and the model loaded strictly from it."""
