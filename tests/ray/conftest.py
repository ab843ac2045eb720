"""Tests of what workers do, in this process: they leave it the number of threads that it had."""

import os

import pytest


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back the variable that a worker's model is loaded by; torch's threads are set before every test."""
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
