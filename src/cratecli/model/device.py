"""The device of a model and its number format."""

import torch

from cratecli.errors import DeviceError, UsageError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(
    device: str | torch.device = "auto", dtype: str = "auto"
) -> tuple[torch.device, torch.dtype]:
    """Choose the device for `auto`, `cpu`, `cuda[:N]`, `mps` or one of torch's, and its number format.

    `auto` prefers CUDA, then MPS, then the CPU; a named device is never replaced. The automatic format is
    bfloat16 on CUDA and float32 elsewhere. Raises `UsageError` for an unknown word, `DeviceError` for an
    absent device.
    """
    if dtype not in ("auto", *_DTYPES):
        raise UsageError(f"dtype {dtype!r} is not one of auto, {', '.join(_DTYPES)}")
    device = str(device)
    if device == "auto":
        present = (torch.cuda.is_available(), torch.backends.mps.is_available())
        device = "cuda" if present[0] else "mps" if present[1] else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in device and not (kind == "cuda" and index.isdecimal())):
        raise UsageError(f"device {device!r} is not one of auto, cpu, cuda, cuda:N, mps")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{device} is not available: torch sees {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("mps is not available on this machine")
    automatic = torch.bfloat16 if kind == "cuda" else torch.float32
    return torch.device(device), _DTYPES.get(dtype, automatic)
