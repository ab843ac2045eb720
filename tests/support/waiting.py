"""Waiting for what another process does."""

import time
from collections.abc import Callable

import pytest

PATIENCE = 600
"""Seconds after which a test gives up on a process: it is stuck, not slow."""


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; fails after `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"it did not happen in {PATIENCE} seconds")
        time.sleep(0.01)
