"""The workflows of GitHub run the README's commands, and name only what is there."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
README = (ROOT / "README.md").read_text()
TOOLS = {"./check", ".venv/bin/mkdocs", ".venv/bin/pip", ".venv/bin/pytest"}
"""What steps start in the environment that an earlier one made; besides, `python` and `test`."""


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    """List the steps of all jobs."""
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        assert job["timeout-minutes"] <= 45
        yield from job["steps"]


def step(workflow: str, name: str) -> dict[str, Any]:
    (found,) = (
        each for each in steps(ROOT / f".github/workflows/{workflow}.yml") if each.get("name", "") == name
    )
    return found


def readme_command(marker: str) -> str:
    (command,) = re.findall(rf"{marker}\n```sh\n(.+)\n```", README)
    return str(command)


def test_there_are_three() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "publish", "tests"]


def test_the_tests_are_the_readmes_own_command_on_every_system() -> None:
    command = readme_command("<!-- test -->")
    assert step("tests", "Test") == {"name": "Test", "if": "runner.os != 'Windows'", "run": command}
    windows = step("tests", "Test on Windows")
    assert windows["if"] == "runner.os == 'Windows'"
    assert windows["run"] == command.replace(".venv/bin/", ".venv/Scripts/")
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={matrix['python'][0]}"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_names_what_is_there(workflow: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for each in steps(workflow):
        if "uses" in each:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", each["uses"]), each
            continue
        assert each["name"]
        for line in each["run"].splitlines():
            (word, *_) = [part for part in line.split() if not re.match(r"\w+=", part)]
            assert word in {"python", "test", *TOOLS}, line
        for named in re.findall(r"\.\[([\w,-]+)\]", each["run"]):
            assert set(named.split(",")) <= set(extras)
        for place in re.findall(r"(?:tests|src|docs)/[\w/.]+", each["run"]):
            assert (ROOT / place).exists(), place
        if "download.pytorch.org" in each["run"]:
            assert each["run"] in README.splitlines()


def test_only_the_upload_may_do_more_than_read() -> None:
    """PyPI's and the pages' trust is given to one job each, and no secret is named."""
    for workflow in WORKFLOWS:
        content = yaml.safe_load(workflow.read_text())
        assert content["permissions"] == {"contents": "read"}
        allowed = {name for name, job in content["jobs"].items() if "permissions" in job}
        assert allowed <= {"upload", "pages"}
        assert "secrets." not in workflow.read_text()
    assert step("publish", "Check")["run"] == "python -m twine check --strict dist/*"
    order = [each.get("name") or each["uses"].partition("@")[0] for each in steps(WORKFLOWS[1])]
    assert order.index("Build") < order.index("Check") < order.index("actions/upload-artifact")
    assert order[-1] == "pypa/gh-action-pypi-publish"
