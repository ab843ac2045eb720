"""What tests inherit is what `tests.support.environment` says, whoever starts pytest, and how."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import platformdirs
import pytest

from tests.support.environment import environment
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[1]
OTHERS = {
    "LC_ALL": "C",
    "TERM": "dumb",
    "COLUMNS": "40",
    "LINES": "3",
    "NO_COLOR": "1",
    "FORCE_COLOR": "1",
    "HOME": "/nonexistent",
    "TZ": "Asia/Kathmandu",
    "CRATE_MODEL": "none",
    "HF_HUB_OFFLINE": "1",
    "XDG_CONFIG_HOME": "/nonexistent",
    "PYTHONIOENCODING": "latin-1",
    "https_proxy": "http://192.0.2.1:1",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "OMP_NUM_THREADS": "7",
}
BACKGROUND = """
import os, signal, sys
for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
    signal.signal(each, signal.SIG_IGN)
os.umask(0o077)
os.close(0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""A start as from the background of a script of a careful user's: signals ignored, stdin closed, files private."""


def test_variables_are_those_that_are_listed(tmp_path: Path) -> None:
    listed = environment(tmp_path / "home") | {"COLUMNS": "80", "LINES": "24"}
    names = {*listed, *OTHERS}  # libraries set more of their own
    assert {name: os.environ.get(name) for name in names} == {name: listed.get(name) for name in names}
    assert time.tzname == ("UTC", "UTC")
    assert not platformdirs.user_config_path("crate").exists()


def test_a_program_starts_with_every_signals_default() -> None:
    script = (
        "import signal; print([each for each in signal.Signals if signal.getsignal(each) is signal.SIG_IGN])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[<Signals.SIGPIPE: 13>, <Signals.SIGXFSZ: 25>]\n"  # Python's own


def test_files_are_for_all_to_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_stdin_is_open_and_text_is_utf_8() -> None:
    os.fstat(0)
    script = "import os, sys; print(sys.stdout.encoding, sys.getfilesystemencoding(), os.read(0, 1))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "utf-8 utf-8 b''\n"


@pytest.mark.parametrize("workers", [pytest.param("0", marks=pytest.mark.slow), "1"])
def test_all_this_holds_whatever_pytest_inherits(workers: str) -> None:
    arguments = ["-m", "pytest", "-n", workers, "-p", "no:cacheprovider", "-k", "not whatever", __file__]
    done = subprocess.run(
        [sys.executable, "-c", BACKGROUND, *arguments],
        cwd=ROOT,
        env=os.environ | OTHERS,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
