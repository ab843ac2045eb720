"""The user's own folders, also where the user has none."""

import os
from collections.abc import Callable
from pathlib import Path

NOWHERE = Path(os.devnull, "crate")
"""What stands for a folder in no home: nothing is found in it, and nobody can write there, not even root."""


def own(folder_of: Callable[[str], Path]) -> Path:
    """Give crate's folder by a function of platformdirs; `NOWHERE` for a user without a home, as containers have."""
    try:
        folder = folder_of("crate")
    except RuntimeError:  # no HOME, and a user id that the system does not know
        return NOWHERE
    return folder if folder.is_absolute() else NOWHERE
