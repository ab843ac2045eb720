"""Libraries' own threads rest for a block, and are as before after it, however it ends."""

import cv2
import pytest
import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from cratecli.runs.limits import one_thread_each


def threads() -> tuple[int, list[int], int]:
    """Count what OpenCV, every OpenBLAS and torch would start."""
    blas = ThreadpoolController().select(internal_api="openblas").info()
    return cv2.getNumThreads(), [each["num_threads"] for each in blas], torch.get_num_threads()


def test_the_model_alone_has_threads_of_its_own() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        with ThreadpoolController().select(internal_api="openblas").limit(limits=2):
            several = threads()
            with pytest.raises(KeyError), one_thread_each():
                assert threads() == (1, [1] * len(several[1]), several[2])
                raise KeyError
            assert several[0] == 2
            assert threads() == several
    finally:
        cv2.setNumThreads(before)
