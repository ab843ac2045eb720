"""`crate` without its start: processes of their own, forked from one that has imported all that takes seconds.

That one serves all processes of a run of tests. It puts a program `crate` into a folder, which hands its arguments,
variables, working folder and open streams to a fork, passes signals on to it, and ends as it ends; killed, it takes the
fork with it. The program `python` beside it runs a script in the fork, as `python -c` does. `Forked` is the same for a
test that wants the fork's own number, or a function called in it. A fork differs from the installed `crate` in two
things: Python's own variables come too late for it, and it ends without taking down what was imported.
"""

import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
from filelock import FileLock

from tests.support.environment import environment
from tests.support.waiting import PATIENCE, until

PROGRAM = """#!{python} -IS
import os, signal, socket, sys
from json import dumps
def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
streams = [number for number in range(3) if is_open(number)]
for _ in range(3 - len(streams)):
    os.open(os.devnull, os.O_RDONLY)  # what is opened below is no stream
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"."], [os.open(".", os.O_RDONLY), *streams])
server.sendall(dumps([streams, dict(os.environ), {function!r}, sys.argv[1:], False]).encode() + b"\\n")
os.closerange(0, 3)
answers = server.makefile("r")
process = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(process, number))
code = int(answers.readline())
if code < 0:
    if -code != signal.SIGKILL:  # which nothing can be done about
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""

FORKS = sys.platform == "linux"
"""Elsewhere `os.fork` is missing, or ends a process badly that has started threads, as libraries of macOS do."""

IMPORTED = (
    *("cv2", "matplotlib.backends.backend_agg", "matplotlib.figure", "PIL.ImageDraw", "PIL.ImageFont"),
    *(
        "pydantic",
        "scipy.ndimage",
        "scipy.sparse.linalg",
        "sklearn.cluster",
        "sklearn.decomposition",
        "torch",
        "torchvision",
    ),
    *("cratecli.cli.app", "cratecli.evaluation.result", "cratecli.handover.export"),
    *("cratecli.tasks.heads", "cratecli.tasks.objects", "cratecli.tasks.parts", "cratecli.tasks.segment"),
)
"""What commands import, but for what reads variables as it is imported: the Hub's client."""

TRAINING = "cratecli.training.train"
"""What training imports besides, the Hub's client among it."""


@cache
def warm_crate(*more: str) -> Path:
    """Start the process that forks, unless another process of these tests has. Gives the program `crate`.

    One that imports `more` modules is another process, a fork of the first. Both end with the process that runs the
    tests: with pytest-xdist, the one that started this. Where nothing is forked, the program is the installed one.
    """
    if not FORKS:
        return Path(sysconfig.get_path("scripts"), "crate")
    if run := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        runner, folder = os.getppid(), Path(tempfile.gettempdir(), f"crate-tests-{run[:12]}-{len(more)}")
        folder.mkdir(mode=0o700, exist_ok=True)
    else:
        runner, folder = os.getpid(), Path(tempfile.mkdtemp(prefix="crate-tests-"))
    with FileLock(folder / "lock"):
        program = folder / "crate"
        if not program.exists():
            python = [warm_python()] if more else [sys.executable]
            server = subprocess.Popen(
                [*python, "-c", SERVER, folder, str(runner), *more],
                cwd=Path(__file__).parents[2],
                env=environment(Path(os.devnull)) | {"PYTHONWARNINGS": "error"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            _servers.append(server)  # which goes on
            until(lambda: program.exists() or server.poll() is not None)
            assert program.exists()
        return program


SERVER = "import sys; from tests.support.warm import main; main(*sys.argv[1:])"

_servers: list["subprocess.Popen[bytes]"] = []


def warm_python() -> Path:
    """Give the program `python` of the process that forks: it takes `-c`, a script, and the script's arguments."""
    return warm_crate().with_name("python") if FORKS else Path(sys.executable)


class Ended(NamedTuple):
    """The exit code of a process, negative for a signal, and what it wrote."""

    code: int
    out: str
    err: str


class Forked:
    """A running fork that may train, the leader of a session of its own; it is killed with the object."""

    def __init__(
        self,
        folder: Path,
        target: Callable[..., object] | None,
        *arguments: str,
        variables: dict[str, str] | None = None,
        err: str = "",
    ) -> None:
        """Call a function in `folder`, or `crate`; its streams are files beside it, or stderr is the path `err`."""
        if not FORKS:
            pytest.skip("a fork of a process with libraries loaded works on Linux only")
        name = f"{folder}-{next(_NUMBERS)}"
        self._streams = Path(f"{name}.out"), Path(err or f"{name}.err")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(str(warm_crate(TRAINING).with_name("socket")))
        handed = [os.open(folder, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)]
        handed += [os.open(path, os.O_WRONLY | os.O_CREAT, 0o600) for path in self._streams]
        socket.send_fds(self._server, [b"."], handed)
        for each in handed:
            os.close(each)
        function = target and [target.__module__, target.__qualname__]
        request = [[0, 1, 2], variables or dict(os.environ), function, arguments, True]
        self._server.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._server.makefile("r")
        self.pid = int(self._answers.readline())
        """Its number, which is that of its group too."""

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds. Fails where the process ends before."""

        def holds() -> bool:
            if condition():
                return True
            assert not select.select([self._server], [], [], 0)[0], self.wait()
            return False

        until(holds)

    def wait(self) -> Ended:
        """Wait for the end of the process."""
        self._server.settimeout(PATIENCE)
        with self._server, self._answers:
            code = int(self._answers.readline())
        out, err = (path.read_text() if path.is_file() else "" for path in self._streams)
        return Ended(code, out, err)


_NUMBERS = count()


def main(place: str, runner: str, *more: str) -> None:
    """Serve until the process that runs the tests has ended."""
    folder = Path(place)
    sys.path[0] = str(Path(__file__).parents[2])  # not the folder where a fork works
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        os.environ["HOME"] = str(folder)  # where matplotlib keeps its list of fonts
        gc.disable()
        for module in (*IMPORTED, *more):
            import_module(module)
        if not more:
            import_module("tests.support.once").warm_up(folder)
        # timm leaves the closing of files to the collector.
        warnings.filterwarnings("ignore", category=ResourceWarning, module=r"timm\.")
        gc.freeze()  # a fork that collects would copy it all
        gc.enable()
        address = str(folder / "socket")
        listening.bind(address)
        listening.listen(64)
        for name, function in (
            ("python", [__name__, "run_script"]),
            ("crate", None),
        ):  # by the last it is known
            written = folder / "written"
            written.write_text(PROGRAM.format(python=sys.executable, address=address, function=function))
            written.chmod(0o755)
            written.rename(folder / name)
        serve(listening, int(runner))
    shutil.rmtree(folder, ignore_errors=True)


def serve(listening: socket.socket, runner: int) -> None:
    """Fork for every program that connects; tell it the process, and in the end the exit code."""
    programs: dict[int, socket.socket] = {}  # by the process of the command
    ended, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while _runs(runner):
        watched: list[int | socket.socket] = [listening, ended, *programs.values()]
        ready, _, _ = select.select(watched, [], [], 1)
        if ended in ready:
            os.read(ended, 1024)
        for process, program in list(programs.items()):
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                with suppress(OSError):
                    program.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
                programs.pop(process).close()
            elif program in ready:  # its end of the connection is closed: it was killed
                os.kill(process, signal.SIGKILL)
        if listening in ready:
            program, _ = listening.accept()
            _, descriptors, _, _ = socket.recv_fds(program, 1, 4)
            with program.makefile("rb") as lines:
                streams, variables, function, arguments, leads = json.loads(lines.readline())
            process = os.fork()
            if process == 0:
                for connection in (listening, program, *programs.values()):
                    connection.close()
                signal.set_wakeup_fd(-1)
                os.closerange(ended, waking + 1)
                settle_in(descriptors, streams)
                os.environ.clear()
                os.environ.update(variables)
                if leads:
                    os.setsid()
                run(function, arguments)
            for each in descriptors:
                os.close(each)
            program.sendall(b"%d\n" % process)
            programs[process] = program


def _runs(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def settle_in(descriptors: list[int], streams: list[int]) -> None:
    """Take the folder and the standard streams that were handed over; signals are as at any start."""
    place, *given = descriptors
    os.fchdir(place)
    like = sys.stdin, sys.stdout, sys.stderr
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        os.close(number)
        stream = None
        if number in streams:
            os.dup2(given[streams.index(number)], number)
            lines = 1 if name == "stderr" or os.isatty(number) else -1
            stream = open(number, mode, lines, like[number].encoding, like[number].errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    for each in descriptors:
        os.close(each)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def run(function: list[str] | None, arguments: list[str]) -> NoReturn:
    """Run `crate`, or another function, and end, without taking all down that was imported."""
    code = 0
    try:
        if function:
            module, name = function
            getattr(import_module(module), name)(*arguments)
        else:
            sys.argv[1:] = arguments
            import_module("cratecli.cli.app").main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def run_script(_flag: str, script: str, *arguments: str) -> None:
    """Run a script as `python -c` does."""
    sys.argv[:] = ["-c", *arguments]
    exec(script, {"__name__": "__main__"})
