"""Another process that does what it is told."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOLD = """
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Other:
    """A process that waits for expressions, a line each, and answers with what they give."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __call__(self, what: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it as nobody can help."""
        self.process.kill()
        self.process.wait()


@contextmanager
def another(preamble: str, *arguments: str | Path) -> Iterator[Other]:
    """Start one that has run the preamble, where `tests` can be imported; it is killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{preamble}{TOLD}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        other = Other(process)
        yield other
        other.kill()
