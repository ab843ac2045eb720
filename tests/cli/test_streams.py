"""What C libraries write to stderr past Python never stands among our lines, and what Python says still does."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from cratecli.cli.streams import only_our_words
from cratecli.errors import InputError
from tests.cli.conftest import Here
from tests.support.waiting import PATIENCE

C_SPEAKS = "import ctypes; ctypes.CDLL(None).perror(b'from C')"


def run(
    script: str, stderr: int | IO[bytes] = subprocess.PIPE, **more: object
) -> "subprocess.CompletedProcess[str]":
    """Run a script that may use `only_our_words`, in a process of its own."""
    start = "import os, sys, warnings\nfrom cratecli.cli.streams import only_our_words\n"
    return subprocess.run(
        [sys.executable, "-c", start + script],
        text=True,
        stdout=subprocess.PIPE,
        stderr=stderr,
        timeout=PATIENCE,
        check=False,
    )


def test_c_is_silent_and_python_is_heard() -> None:
    done = run(f"""
with only_our_words():
    {C_SPEAKS}
    os.write(2, b"past Python")
    print("ours, and é", file=sys.stderr)
{C_SPEAKS}
print("after", file=sys.stderr)
""")
    first, second, third = done.stderr.splitlines()
    assert (first, third) == ("ours, and é", "after")
    assert second.startswith("from C")


def test_where_a_library_ended_the_process_is_said() -> None:
    """An abort in C++ is silent on our stderr; Python says in which line the program was."""
    done = run("with only_our_words():\n    os.abort()")
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.startswith("Fatal Python error: Aborted")
    assert 'File "<string>", line 4' in done.stderr


def test_a_traceback_of_ours_is_seen() -> None:
    done = run("with only_our_words():\n    raise RuntimeError('a bug')")
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: a bug\n")
    done = run("""
import threading
with only_our_words():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
""")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_warnings_of_pillow_are_silent_and_others_are_not() -> None:
    done = run("""
with only_our_words():
    warnings.warn_explicit("Pillow's", UserWarning, "x.py", 1, "PIL.TiffImagePlugin")
    warnings.warn("another's")
""")
    assert "another's" in done.stderr
    assert "Pillow's" not in done.stderr


def test_development_mode_lets_all_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    assert run(f"with only_our_words():\n    {C_SPEAKS}").stderr.startswith("from C")


def test_a_terminal_is_still_one() -> None:
    ours, theirs = pty.openpty()
    try:
        done = run(
            "with only_our_words():\n    print(sys.stderr.isatty(), sys.stderr.fileno() > 2)", stderr=theirs
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout == "True True\n"


def test_a_closed_stderr_is_no_error_and_its_place_is_held(tmp_path: Path) -> None:
    """The next file that is opened would be descriptor 2, and get what C says."""
    script = f"""
import os, sys
from cratecli.cli.streams import only_our_words
assert sys.stderr is None
with only_our_words():
    with open("mine", "w") as stream:
        assert stream.fileno() != 2
        {C_SPEAKS}
        stream.write("mine")
"""
    command = f'exec "{sys.executable}" -c "$SCRIPT" 2>&-'
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=os.environ | {"SCRIPT": script}, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_full_stderr_is_no_error() -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(
            """
with only_our_words():
    try:
        print("ours", file=sys.stderr)
    except OSError:
        print("full")
""",
            stderr=full,
        )
    assert (done.returncode, done.stdout) == (0, "full\n")


def test_everything_is_as_it_was_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    for _ in range(3):
        with only_our_words():
            os.write(2, b"past Python")
            sys.stderr.write("ours\n")
        assert sys.stderr is before
        os.write(2, b"after\n")
    assert capfd.readouterr().err == "ours\nafter\n" * 3


def test_a_stream_that_is_not_stderr_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    with only_our_words():
        assert sys.stderr is before
        sys.stderr.write("ours\n")
    assert capsys.readouterr().err == "ours\n"


def test_crate_keeps_to_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def speaking(path: Path, *more: object, **named: object) -> None:
        os.write(2, b"past Python")
        raise InputError(f"{path}: no photo")

    monkeypatch.setattr("cratecli.io.images.content", speaking)
    Path("photo.jpg").touch()  # where `here` runs
    assert here("segment", "photo.jpg", "-q").err == "crate: photo.jpg: no photo\n"
