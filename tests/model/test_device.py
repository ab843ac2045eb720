"""Devices and number formats: what is named is never replaced."""

import pytest
import torch

from cratecli.errors import DeviceError, UsageError
from cratecli.model.device import choose_device


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


@pytest.mark.parametrize("device", ["", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "mps:0", "meta", "CPU"])
def test_an_unknown_device_is_a_usage_error(device: str) -> None:
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
