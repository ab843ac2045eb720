"""The pages describe the commands as they are, and are easy to read in a terminal."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from cratecli.weights import graphs
from cratecli.weights.registry import BUILT_IN, load_registry

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
WIDTH = 100  # characters of a line of prose
BLOCKS = re.compile(r"^```.*?^```$|^<!-- (?:table|options [\w ]+) -->$.*?^<!-- end -->$", re.M | re.S)
"""Code, and what scripts write."""
NO_PROSE = re.compile(r"\||    |#.*\]\(|\W*\[[^]]*\]\([^)]*\)\W*$")
"""The start of a line that may be longer: a table's, code's, a heading with a link, one link alone."""


def test_the_options_in_the_pages_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["reference.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "docs/reference.py"), run_name="__main__")
    assert ended.value.code == 0


def test_every_command_has_its_page() -> None:
    from cratecli.cli.app import app

    for command in app.registered_commands:
        assert command.callback is not None
        name = command.callback.__name__.replace("_", "-")
        page = (ROOT / f"docs/{name}.md").read_text()
        assert f"<!-- options {name} -->\n| option |" in page


def test_every_protocol_has_its_options() -> None:
    from cratecli.cli.commands.evaluate import app

    page = (ROOT / "docs/evaluate.md").read_text()
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"<!-- options evaluate {command.callback.__name__} -->\n| option |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_prose_wraps(page: Path) -> None:
    prose = BLOCKS.sub("", page.read_text()).splitlines()
    assert [line for line in prose if len(line) > WIDTH and not NO_PROSE.match(line)] == []


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    whole = onnx.load(
        graphs.graph_file(load_registry().find(BUILT_IN))
    )  # with the weights, as an export has them
    onnx.save(whole, tmp_path / "nano.onnx")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)


def test_every_picture_and_page_a_page_names_is_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} names {target}"


def test_the_tables_of_faults_and_attacks_name_tests_that_are_there() -> None:
    """Every fault, by its number, has a row; every test that a row names exists, and every attack names one."""
    page, attacks = ((ROOT / f"docs/{name}.md").read_text() for name in ("faults", "serve"))
    there = {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert not set(re.findall(r"`(test_\w+)`", page + attacks)) - there
    (table,) = re.findall(r"^\| attack \| answer \| test \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", attacks, re.M)
    assert all(re.search(r"\| `test_\w+`[^|]*\|$", row) for row in table.splitlines())
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", page, re.M)
    assert {int(number) for number, _ in rows} == {*range(1, 26), *range(27, 32)}
    for number, row in rows:
        named = re.findall(r"`test_\w+`", row)
        assert named or re.search(r"`tests/\S+\.py`", row), f"fault {number} names no test"


def test_the_site_lists_every_page() -> None:
    """Each page that people read has its place in the site's navigation."""
    listed = set(re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    pages = {
        page
        for pattern in ("*.md", "docs/*.md", "benchmarks/*.md", "examples/**/*.md")
        for page in ROOT.glob(pattern)
    }
    assert {page.relative_to(ROOT).as_posix() for page in pages} - listed == set()
