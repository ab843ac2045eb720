"""Waiting for what another process does."""

import time
from collections.abc import Callable

import pytest


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds. Fails after 30 seconds."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen in 30 seconds")
