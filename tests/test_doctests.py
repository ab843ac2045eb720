"""The examples in docstrings are true."""

import doctest
from importlib import import_module

import pytest

MODULES = (
    "cratecli.geometry",
    "cratecli.emergence.features",
    "cratecli.emergence.heads",
    "cratecli.emergence.rules",
    "cratecli.emergence.metrics",
    "cratecli.io.formats.cvat_images",
    "cratecli.io.formats.indexed",
    "cratecli.io.formats.names",
    "cratecli.io.formats.record",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    failed, tried = doctest.testmod(import_module(name))
    assert tried > 0
    assert failed == 0
