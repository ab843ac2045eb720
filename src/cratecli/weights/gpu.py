"""Tell whether torch is likely to find a GPU, without importing it, which takes seconds."""

import ctypes
import platform
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_DRIVERS = {"win32": "nvcuda.dll"}


@cache
def gpu_here() -> bool:
    """Tell whether `--device auto` would be a GPU: one of Apple's, NVIDIA's, or what a build for ROCm is meant for."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    with suppress(PackageNotFoundError):
        build = version("torch").partition("+")[2]
        if build == "cpu":
            return False
        if build.startswith("rocm"):
            return True
    count = ctypes.c_int(0)
    with suppress(OSError, AttributeError):
        driver = ctypes.CDLL(_DRIVERS.get(sys.platform, "libcuda.so.1"))
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value > 0
    return False
