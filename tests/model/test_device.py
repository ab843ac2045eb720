"""Devices and number formats: what is named is never replaced."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cratecli.errors import DeviceError, UsageError
from cratecli.model.device import choose_device
from cratecli.model.engine import out_of_memory


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: int, mps: bool) -> None:
    """Pretend that torch sees these devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "asked", "given"),
    [
        (0, False, ("auto", "auto"), ("cpu", torch.float32)),
        (0, True, ("auto", "auto"), ("mps", torch.float32)),
        (2, True, ("auto", "auto"), ("cuda", torch.bfloat16)),
        (2, False, ("cuda:1", "float32"), ("cuda:1", torch.float32)),
        (2, True, ("cpu", "bfloat16"), ("cpu", torch.bfloat16)),
    ],
)
def test_choice(
    monkeypatch: pytest.MonkeyPatch,
    cuda: int,
    mps: bool,
    asked: tuple[str, str],
    given: tuple[str, torch.dtype],
) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device(*asked) == (torch.device(given[0]), given[1])


def test_a_device_of_torch() -> None:
    assert choose_device(torch.device("cpu")) == (torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    "device", [5, None, "", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "mps:0", "meta", "CPU"]
)
def test_an_unknown_device_is_a_usage_error(device: Any) -> None:
    with pytest.raises(UsageError, match="is not one of auto, cpu, cuda, cuda:N, mps"):
        choose_device(device)


def test_an_unknown_number_format_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="dtype 'float16' is not one of auto, float32, bfloat16"):
        choose_device("cpu", "float16")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_an_absent_device_is_named(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    machine(monkeypatch, cuda=0, mps=False)
    with pytest.raises(DeviceError, match=f"{device} is not available"):
        choose_device(device)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
        MemoryError(),
        cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_memory_that_ran_out_is_known(error: Exception) -> None:
    """FAULTS 14."""
    assert out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes do not match"), ValueError(), OSError(28, "No space left"), KeyboardInterrupt()],
)
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not out_of_memory(error)


def test_what_torch_says_when_memory_runs_out() -> None:
    """FAULTS 14: for real, beyond what any machine has."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(caught.value)
    with pytest.raises(MemoryError) as told:
        np.empty(1 << 60, np.uint8)
    assert out_of_memory(told.value)
