"""How much memory a process has taken at most."""

from pathlib import Path

STATUS = Path("/proc/self/status")
"""Where Linux tells it."""


def peak_memory() -> int:
    """Give it in KiB, of this process alone: `getrusage` starts from what the parent held.

    It is 0 where the system does not tell.
    """
    if not STATUS.exists():
        return 0
    return int(STATUS.read_text().split("VmHWM:")[1].split()[0])
