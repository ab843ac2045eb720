"""The rules of the house that can be measured: who imports whom, how large rooms and files are, what tests share."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE, TESTS = ROOT / "src/cratecli", ROOT / "tests"

LARGEST_SHARE = 0.20  # of all lines, a room's
LONGEST = 300  # lines of a file
LONGER = {
    "tasks/records.py": "the fields of every record, each with its description",
}
"""The files that are longer, and why."""


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_every_contract_of_import_linter_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    linter = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        "logging.config.dictConfig", lambda _: None
    )  # it would silence the loggers of other tests
    code = linter.lint_imports(no_cache=True)
    assert code == 0, capsys.readouterr().out


def test_no_room_holds_more_than_a_fifth_of_all_lines() -> None:
    rooms = Counter[str]()
    for path in SOURCE.rglob("*.py"):
        rooms[path.relative_to(SOURCE).parts[0]] += lines(path)
    shares = {room: round(count / rooms.total(), 2) for room, count in rooms.items()}
    assert {room: share for room, share in shares.items() if share > LARGEST_SHARE} == {}


def test_no_file_is_long_but_those_with_a_reason() -> None:
    long = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if lines(path) > LONGEST}
    assert long == set(LONGER)


def imported(path: Path) -> Iterator[str]:
    """List the modules that a file imports, with their packages' full names."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


def test_no_test_module_imports_another() -> None:
    """What several need stands in `tests/support`, or is a fixture of a `conftest.py`."""
    pairs = {
        (path.relative_to(TESTS).as_posix(), module)
        for path in TESTS.rglob("*.py")
        for module in imported(path)
        if module.startswith("tests.") and module.rpartition(".")[2].startswith("test_")
    }
    assert pairs == set()
