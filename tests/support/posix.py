"""Modules that only POSIX has, and the modules of tests that cannot be imported without them."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MISSING = frozenset(
    name for name in ("fcntl", "pty", "pwd", "resource", "termios") if find_spec(name) is None
)
"""Those that this system lacks: on Windows all, elsewhere none."""


class _Skipped(pytest.Module):
    """A module of tests that is reported as skipped, and not imported."""

    reason = ""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        pytest.skip(self.reason, allow_module_level=True)


def skipped(path: Path, parent: pytest.Collector, reason: str) -> pytest.Module:
    """Give what stands in for a module of tests."""
    module: _Skipped = _Skipped.from_parent(parent, path=path)
    module.reason = reason
    return module


@cache
def lacking(path: Path, missing: frozenset[str] = MISSING) -> frozenset[str]:
    """Name the modules that this system lacks and a module of tests, or its support, imports as it is imported."""
    if not missing:
        return missing
    names = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}", *(f"{node.module}.{each.name}" for each in node.names)}
    support = [ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("tests.")]
    return missing.intersection(names).union(*(lacking(each, missing) for each in support if each.is_file()))
