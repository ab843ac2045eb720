"""Masks on Ray: a class for pipelines of Ray Data, and what carries a run of `crate` to a cluster.

Imports neither Ray nor torch by itself.
"""

from cratecli.ray.segmenter import Segmenter

__all__ = ["Segmenter"]
