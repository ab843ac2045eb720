"""What can go wrong, as one tree; each branch carries the exit code the command line ends with.

CrateError
├── InputError          1  an input is broken, unreadable or unsuitable
├── OutputError         1  an output cannot be written
├── UsageError          2  the request itself makes no sense
│   └── RegistryError   2  `weights.toml` is broken
├── NothingMatchedError 3  no input was found
├── WeightsError        4  weights are missing, refused or cannot be fetched
└── DeviceError         5  the device asked for is not there
"""

from typing import ClassVar


class CrateError(Exception):
    """Says what is wrong, with what, and what to do next, in one line."""

    exit_code: ClassVar[int] = 1


class InputError(CrateError):
    """An input file is broken, unreadable or unsuitable."""


class OutputError(CrateError):
    """An output cannot be written."""


class UsageError(CrateError):
    """The request makes no sense, whatever the inputs hold."""

    exit_code = 2


class RegistryError(UsageError):
    """A registry file is broken: which one, where, and how."""


class NothingMatchedError(CrateError):
    """No input was found."""

    exit_code = 3


class WeightsError(CrateError):
    """Weights are missing, refused, or cannot be fetched."""

    exit_code = 4


class DeviceError(CrateError):
    """The device asked for is not there."""

    exit_code = 5
