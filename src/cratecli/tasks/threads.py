"""Threads of libraries that would start their own, where photos are worked on side by side already."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep OpenCV and NumPy's OpenBLAS to the thread that calls them.

    Theirs would wait in a loop for more to do, on the processors that the model computes on. The model's threads, which
    are torch's, stay as they are. It holds for the whole process, until the block ends.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadpoolController().select(internal_api="openblas").limit(limits=1):
            yield
    finally:
        cv2.setNumThreads(before)
