"""Examine this machine: packages, device, folders, models, environment. Uses no network, changes nothing."""

import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from importlib import import_module, metadata
from io import StringIO
from pathlib import Path

from cratecli.doctor import models
from cratecli.doctor.finding import Finding, fine, problem, warning
from cratecli.errors import CrateError
from cratecli.version import __version__
from cratecli.weights.download import OFFICIAL_HUB

_PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "pillow": "PIL",
    "opencv-python-headless": "cv2",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "huggingface_hub": "huggingface_hub",
    "safetensors": "safetensors",
}
"""The packages that do the work, by the name each is installed under, and its module."""

_OURS = ("CRATE_CACHE_DIR", "CRATE_DEVICE", "CRATE_MODEL", "CRATE_WEIGHTS_TOML")
_OTHERS = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def diagnose() -> list[Finding]:
    """Examine this machine. Raises nothing: a fault is a finding, and so is a check that fails."""
    findings: list[Finding] = []
    for name, check in _CHECKS.items():
        try:
            # Some libraries print why they cannot be imported, which a finding says.
            with warnings.catch_warnings(action="ignore"), redirect_stderr(StringIO()):
                for finding in check():
                    findings.append(finding)  # one by one: a check that fails had findings before
        except CrateError as error:
            findings.append(problem(name, str(error)))
        except Exception as error:  # whatever a broken installation raises
            findings.append(
                problem(name, f"cannot be examined: {_first_line(error)}; repair that, or report it")
            )
    return findings


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"


def _versions() -> Iterator[Finding]:
    yield fine("crate", f"{__version__}, {Path(__file__).parents[1]}")
    yield fine("Python", f"{platform.python_version()}, {sys.executable}")


def _packages() -> Iterator[Finding]:
    """Import the packages that do the work: an installed version need not run."""
    for name, module in _PACKAGES.items():
        try:
            import_module(module)
            yield fine(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield warning(name, "imported, but not installed by pip: its version is not known")
        except ModuleNotFoundError as error:
            yield problem(name, f"{_first_line(error)}; run: pip install {name}")
        except Exception as error:  # a library that is missing, a build for another torch: anything
            again = f"pip install --force-reinstall {name}"
            yield problem(name, f"cannot be imported: {_first_line(error)}; install it again: {again}")


def _device() -> Iterator[Finding]:
    import torch

    from cratecli.model.device import choose_device

    chosen, dtype = choose_device()
    seen = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    seen += ["MPS"] * torch.backends.mps.is_available()
    plain = str(dtype).removeprefix("torch.")
    yield fine("device", f"auto is {chosen} in {plain}; torch sees {', '.join(seen) or 'no GPU'}")
    if chosen.type == "cpu" and shutil.which("nvidia-smi"):
        yield warning(
            "device", "an NVIDIA driver is here, but this torch cannot use it: install one for CUDA"
        )
    if asked := os.environ.get("CRATE_DEVICE"):
        try:
            choose_device(asked)
        except CrateError as error:
            yield problem("device", f"CRATE_DEVICE: {error}; unset it, or set it to auto")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield fine("threads", f"torch uses {torch.get_num_threads()} on {cores} cores")


def _engine() -> Iterator[Finding]:
    """Load the built-in model's graph, which answers without torch."""
    from cratecli.weights import graphs
    from cratecli.weights.gpu import gpu_here
    from cratecli.weights.own_heads import load_own_head
    from cratecli.weights.registry import BUILT_IN, load_registry, registry_files

    row = load_registry(registry_files()[:1]).find(BUILT_IN)
    graphs.load_own_graph(row)
    load_own_head(row).prepare()
    where = "torch, on the GPU" if gpu_here() else "onnxruntime"
    yield fine("engine", f"auto is {where} for {BUILT_IN}, and torch for other checkpoints")


def _formats() -> Iterator[Finding]:
    from cratecli.io.support import HEIC, readable_formats

    remedies = {HEIC: "run: pip install 'cratecli[heic]'"}
    for name, there in readable_formats().items():
        remedy = remedies.get(name, "this Pillow was built without it: pip install --force-reinstall pillow")
        state = "is read" if there else f"is not read; {remedy}"
        yield fine(name, state) if there or name in remedies else warning(name, state)


def _environment() -> Iterator[Finding]:
    for name in (*_OURS, *_OTHERS):
        if value := os.environ.get(name):
            yield fine(name, re.sub(r"//[^/@]*@", "//…@", value))
    for name in sorted(os.environ):
        if name.startswith("CRATE_") and name not in _OURS:
            yield warning(name, f"is not known; crate reads {', '.join(_OURS)}")
    yield from (fine(name, "set") for name in _SECRETS if os.environ.get(name))
    if os.environ.get("HF_ENDPOINT", OFFICIAL_HUB).rstrip("/") != OFFICIAL_HUB:
        yield fine("HF_ENDPOINT", "is not the Hub itself: your token is not sent there")
    with suppress(ImportError):  # a finding of `_packages`
        from huggingface_hub import is_offline_mode

        if is_offline_mode():
            yield warning(
                "HF_HUB_OFFLINE", "is on: crate models pull uses no network; unset it to fetch models"
            )


_CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "versions": _versions,
    "temporary files": models.temporary,
    "packages": _packages,
    "device": _device,
    "engine": _engine,
    "image formats": _formats,
    "folders": models.folders,
    "models": models.models,
    "leftovers": models.leftovers,
    "environment": _environment,
}
