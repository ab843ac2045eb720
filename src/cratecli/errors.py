"""The exceptions, as one tree; each branch has the exit code with which the command line ends.

CrateError
├── InputError          1  an input is broken, unreadable or unsuitable
├── OutputError         1  an output cannot be written
├── UsageError          2  the request itself makes no sense
│   └── RegistryError   2  `weights.toml` is broken
├── NothingMatchedError 3  no input matched
├── WeightsError        4  weights are missing, refused or cannot be fetched
└── DeviceError         5  the device asked for is not there
"""

import errno
from reprlib import repr as short
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from pydantic import ValidationError

_OF_THE_DISK = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EIO", "EROFS", "EFBIG", "ENODEV", "EREMOTEIO"),
        *(
            "ESTALE",
            "ETIMEDOUT",
            "ENOTCONN",
            "ECONNRESET",
            "EHOSTDOWN",
            "EHOSTUNREACH",
            "ENETDOWN",
            "ENETUNREACH",
        ),
        *("EMFILE", "ENFILE", "ENOMEM"),
    )
    if hasattr(errno, name)
)
"""What fails every output: a disk that is full, broken, read-only or no longer there, and a process at its limits."""


class CrateError(Exception):
    """An error for users: one line that says what is wrong, with which file, and what to do next."""

    exit_code: ClassVar[int] = 1


class InputError(CrateError):
    """An input file is broken, unreadable or unsuitable."""


class OutputError(CrateError):
    """An output cannot be written. Where it `alone` cannot, the others of its run are."""

    def __init__(self, message: str, *, alone: bool = False) -> None:
        """Say what cannot be written, and why."""
        super().__init__(message)
        self.alone = alone

    @classmethod
    def of(cls, output: object, error: OSError) -> Self:
        """Say why the system refuses an output: for its name, its folder or a permission, or for any output's."""
        reason = f"{output}: cannot be written: {error.strerror or error}"
        return cls(reason, alone=error.errno not in _OF_THE_DISK)


class UsageError(CrateError):
    """The request itself makes no sense, whatever the inputs are."""

    exit_code = 2


class RegistryError(UsageError):
    """A registry file is broken; the message gives file, line and reason."""


class NothingMatchedError(CrateError):
    """No input matched."""

    exit_code = 3


class WeightsError(CrateError):
    """Weights are missing, refused, or cannot be fetched."""

    exit_code = 4


class DeviceError(CrateError):
    """The device asked for is not there."""

    exit_code = 5


def validation_message(error: "ValidationError", within: int = 0) -> str:
    """Say in one line what pydantic refused first: the field, its value, and what it should be.

    The first `within` parts of the field's path are left out, for callers that have named them.
    """
    first = error.errors(include_url=False)[0]
    parts = [part for part in first["loc"][within:] if part != "[key]"]
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
    match first["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"unknown field {short(name)}"
        case "value_error":
            reason = str(first["ctx"]["error"])
        case "dict_type" | "model_type" | "dataclass_type":
            reason = "should be a table of named fields"
        case _:
            reason = first["msg"].removeprefix("Input ")
    return f"{name} is {short(first['input'])}: {reason}" if name else reason
