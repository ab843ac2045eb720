"""Read the names of a model's classes from the metadata of a checkpoint, which anybody may have written."""

import json
from pathlib import Path
from reprlib import repr as short

from cratecli.errors import WeightsError

LONGEST = 1000  # characters of a name


def class_names(text: str | None, classes: int, path: Path) -> tuple[str, ...]:
    """Read a JSON list with the name of each class, in the order of the logits; without `text` there are none.

    What cannot be printed becomes a space, and a blank name the number of its class. Raises `WeightsError` for anything
    but one text for each of the `classes`, of at most 1,000 characters.
    """
    if text is None:
        return ()
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        raise WeightsError(f"{path}: the names of its classes are no JSON: {short(text)}") from None
    if not isinstance(names, list) or len(names) != classes:
        found = f"{len(names)} names" if isinstance(names, list) else short(names)
        raise WeightsError(f"{path}: does not name its {classes} classes, but has {found}")
    for name in names:
        if not isinstance(name, str) or len(name) > LONGEST:
            raise WeightsError(f"{path}: {short(name)} is no name of a class")
    return tuple(_printable(name) or f"class {number}" for number, name in enumerate(names))


def _printable(name: str) -> str:
    return "".join(each if each.isprintable() else " " for each in name).strip()
