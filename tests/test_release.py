"""What is published: wheel and sdist, built and installed as a stranger does, the citation, and the site."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

import cratecli
from tests.support.environment import environment
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples/chelsea.jpg"
BIN = "Scripts" if sys.platform == "win32" else "bin"


def run(*command: str | Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program, which may fail, in an environment that is nobody's."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder) | more,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )


def ran(*command: str | Path, folder: Path, **more: str) -> str:
    """Run a program that must succeed; gives its stdout."""
    done = run(*command, folder=folder, **more)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def build(source: Path, folder: Path, *kinds: str) -> None:
    """Build distributions with no network, by the hatchling that is installed."""
    pytest.importorskip("build", reason="build is not installed: pip install -e '.[release]'")
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    ran(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, *kinds, source, folder=folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the sdist, and of the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the top folder of the sdist, unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """Give a fresh environment, which is removed: torch takes gigabytes."""
    place = tmp_path / "fresh"
    ran(sys.executable, "-m", "venv", place, folder=tmp_path)
    yield place / BIN
    shutil.rmtree(place)


def needs_the_index(python: Path, folder: Path) -> None:
    """Skip the test where no package can be downloaded, so that what fails later is ours."""
    pip = (
        python,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-cache-dir",
        "--dest",
        folder / "probe",
    )
    done = run(*pip, "platformdirs", folder=folder)
    if done.returncode:
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")


@pytest.mark.slow
def test_twine_finds_nothing_to_say(built: Path) -> None:
    pytest.importorskip("twine", reason="twine is not installed: pip install -e '.[release]'")
    files = sorted(built.iterdir())
    version = cratecli.__version__
    assert [each.name for each in files] == [
        f"cratecli-{version}-py3-none-any.whl",
        f"cratecli-{version}.tar.gz",
    ]
    said = ran(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files, folder=built)
    assert said.count("PASSED") == 2


@pytest.mark.slow
def test_the_sdist_builds_the_wheel_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """File by file; `built` has the wheel that was made from the sdist."""
    build(ROOT, tmp_path, "--wheel")
    with zipfile.ZipFile(wheel) as theirs, zipfile.ZipFile(tmp_path / wheel.name) as ours:
        assert theirs.namelist() == ours.namelist()
        assert [name for name in ours.namelist() if ours.read(name) != theirs.read(name)] == []


@pytest.mark.slow
def test_the_sdist_holds_every_file_of_the_checkout(unpacked: Path) -> None:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no checkout of git")
    tracked = run("git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "-z", folder=unpacked.parent)
    names = {name for name in tracked.stdout.split("\0") if name and (ROOT / name).exists()}
    assert "pyproject.toml" in names, tracked.stderr
    there = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert names - there == set()
    assert there - names <= {"PKG-INFO"} | {name for name in there if (ROOT / name).exists()}


@pytest.mark.slow
def test_the_tests_in_the_sdist_run_in_it(unpacked: Path, tmp_path: Path) -> None:
    """Those that read pages, examples, scripts and sources beside them."""
    tests = [
        f"tests/test_{name}.py" for name in ("api", "docs", "doctests", "house", "packaging", "workflows")
    ]
    pytest_ = (sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-rs", *tests)
    said = ran(*pytest_, folder=unpacked, PYTHONPATH=str(unpacked / "src"), TMPDIR=str(tmp_path))
    assert " passed" in said


@pytest.mark.slow
def test_the_wheel_in_a_fresh_environment_makes_a_mask(wheel: Path, fresh: Path, tmp_path: Path) -> None:
    """Nothing is installed but what the wheel asks for."""
    needs_the_index(fresh / "python", tmp_path)
    ran(fresh / "python", "-m", "pip", "install", "--quiet", wheel, folder=tmp_path)
    ran(fresh / "python", "-m", "pip", "check", folder=tmp_path)
    assert ran(fresh / "crate", "--version", folder=tmp_path).split()[-1] == cratecli.__version__
    assert ran(fresh / "crate", "segment", PHOTO, "-o", "mask.png", folder=tmp_path) == "mask.png\n"
    with Image.open(tmp_path / "mask.png") as mask, Image.open(PHOTO) as photo:
        assert mask.size == photo.size
        assert mask.getextrema() == (0, 255)


@pytest.mark.slow
def test_the_citation_validates(fresh: Path, tmp_path: Path) -> None:
    """By the schema that cffconvert carries; it needs an old jsonschema, so an environment of its own."""
    needs_the_index(fresh / "python", tmp_path)
    ran(fresh / "python", "-m", "pip", "install", "--quiet", "cffconvert>=2.0", folder=tmp_path)
    cffconvert = (fresh / "cffconvert", "--validate", "--infile")
    assert "valid according to schema" in ran(*cffconvert, ROOT / "CITATION.cff", folder=tmp_path)
    (tmp_path / "wrong.cff").write_text((ROOT / "CITATION.cff").read_text().replace("title:", "titel:", 1))
    assert run(*cffconvert, tmp_path / "wrong.cff", folder=tmp_path).returncode != 0


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == cratecli.__version__
    assert (citation["title"], citation["license"]) == (project["name"], project["license"])
    assert [author["name"] for author in citation["authors"]] == [each["name"] for each in project["authors"]]


@pytest.mark.slow
def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    """Every page, picture and heading that a page names is in it, and every name of the Python API."""
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[docs]'")
    mkdocs = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site")
    done = run(*mkdocs, folder=ROOT, HOME=str(tmp_path), NO_MKDOCS_2_WARNING="1")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    site = tmp_path / "site"
    pages = [path for folder in ("docs", "benchmarks") for path in (ROOT / folder).glob("*.md")]
    for page in pages:
        assert (site / page.relative_to(ROOT).with_suffix("") / "index.html").is_file(), page
    start = (site / "index.html").read_text()
    assert 'href="docs/segment/"' in start
    assert (site / "docs/segment.jpg").is_file()
    assert list(site.glob("assets/stylesheets/main.*.css")), "the theme's style is missing"
    api = (site / "docs/api/index.html").read_text()
    names = [name for name in cratecli.__all__ if not name.startswith("__")]
    assert [name for name in names if f'id="cratecli.{name}"' not in api] == []
    assert "Draw a photo and its" in api, "docstrings are missing"
