"""Which refusals of the system are one output's, and which are every output's."""

import errno
import os

import pytest

from cratecli.errors import OutputError

ITS_OWN = (
    "EACCES",
    "EPERM",
    "ENAMETOOLONG",
    "EISDIR",
    "ENOTDIR",
    "EEXIST",
    "ELOOP",
    "EINVAL",
    "EILSEQ",
    "EBUSY",
)
THE_DISKS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EFBIG", "ENODEV", "ESTALE", "ENOTCONN", "EMFILE")


@pytest.mark.parametrize(("names", "alone"), [(ITS_OWN, True), (THE_DISKS, False)])
def test_what_the_system_refuses(names: tuple[str, ...], alone: bool) -> None:
    for name in names:
        number = getattr(errno, name)
        error = OutputError.of("out/a.png", OSError(number, os.strerror(number)))
        assert (error.alone, str(error)) == (alone, f"out/a.png: cannot be written: {os.strerror(number)}")


def test_other_output_errors_are_the_runs() -> None:
    assert not OutputError("out/manifest.jsonl: is not as it was left").alone
