"""`crate` without its start: processes of their own, forked from one that has imported all that takes seconds.

That one puts a program `crate` into a folder. The program hands its arguments, variables, working folder and open
streams to a fork, passes signals on to it, and ends as it ends; killed, it takes the fork with it. A fork differs from
the installed `crate` in two things: Python's own variables come too late for it, and it ends without taking down what
was imported.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from tests.support.environment import environment

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
server.sendall(dumps([streams, sys.argv[1:], dict(os.environ)]).encode() + b"\\n")
os.closerange(0, 3)
answers = server.makefile("r")
process = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(process, number))
code = int(answers.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""

IMPORTED = (
    *(
        "cv2",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
        "PIL.ImageDraw",
        "PIL.ImageFont",
        "pydantic",
    ),
    *("scipy.ndimage", "scipy.sparse.linalg", "sklearn.cluster", "sklearn.decomposition", "torch"),
    *("cratecli.cli.app", "cratecli.evaluation.result", "cratecli.handover.export"),
    *("cratecli.tasks.heads", "cratecli.tasks.objects", "cratecli.tasks.parts", "cratecli.tasks.segment"),
)
"""What commands import, but for what reads variables as it is imported: the Hub's client."""

_servers: list["subprocess.Popen[str]"] = []


@cache
def warm_crate() -> Path:
    """Start the process that forks, which ends with this one. Gives the program `crate`."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm"],
        cwd=Path(__file__).parents[2],
        env=environment(Path(os.devnull)) | {"PYTHONWARNINGS": "error"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _servers.append(server)  # whose stdin stays open
    assert server.stdout
    return Path(server.stdout.readline().rstrip("\n"))


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        os.environ["HOME"] = folder  # where matplotlib keeps its list of fonts
        for module in IMPORTED:
            import_module(module)
        gc.freeze()  # a fork that collects would copy it all
        program, address = Path(folder) / "crate", f"{folder}/socket"
        program.write_text(PROGRAM.format(python=sys.executable, address=address))
        program.chmod(0o755)
        listening.bind(address)
        listening.listen(64)
        print(program, flush=True)  # noqa: T201
        serve(listening)


def serve(listening: socket.socket) -> None:
    """Fork for every program that connects; tell it the process, and in the end the exit code."""
    programs: dict[int, socket.socket] = {}  # by the process of the command
    ended, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        watched: list[int | socket.socket] = [0, listening, ended, *programs.values()]
        ready, _, _ = select.select(watched, [], [])
        if 0 in ready:
            return
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
                streams, arguments, variables = json.loads(lines.readline())
            process = os.fork()
            if process == 0:
                for connection in (listening, program, *programs.values()):
                    connection.close()
                signal.set_wakeup_fd(-1)
                os.closerange(ended, waking + 1)
                settle_in(descriptors, streams)
                sys.argv[1:] = arguments
                os.environ.clear()
                os.environ.update(variables)
                run()
            for each in descriptors:
                os.close(each)
            program.sendall(b"%d\n" % process)
            programs[process] = program


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


def run() -> NoReturn:
    """Run the command and end, without taking all down that was imported."""
    from cratecli.cli.app import main as crate

    code = 0
    try:
        crate()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
