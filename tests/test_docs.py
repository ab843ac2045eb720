"""The pages tell of the commands as they are."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_options_in_the_pages_are_fresh() -> None:
    check = [sys.executable, str(ROOT / "docs/reference.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_has_its_page() -> None:
    from cratecli.cli.app import app

    for command in app.registered_commands:
        assert command.callback is not None
        page = (ROOT / f"docs/{command.callback.__name__}.md").read_text()
        assert f"<!-- options {command.callback.__name__} -->\n| option |" in page


def test_every_protocol_has_its_options() -> None:
    from cratecli.cli.commands.evaluate import app

    page = (ROOT / "docs/evaluate.md").read_text()
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"<!-- options evaluate {command.callback.__name__} -->\n| option |" in page


def test_every_picture_and_page_a_page_names_is_there() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} names {target}"


def test_the_table_of_faults_names_tests_that_are_there() -> None:
    """Every fault, by its number, has a row; every test that a row names exists."""
    page = (ROOT / "docs/faults.md").read_text()
    there = {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert not set(re.findall(r"`(test_\w+)`", page)) - there
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", page, re.M)
    assert {int(number) for number, _ in rows} == set(range(1, 23))
    for number, row in rows:
        named = re.findall(r"`test_\w+`", row)
        assert named or re.search(r"`tests/\S+\.py`", row), f"fault {number} names no test"
