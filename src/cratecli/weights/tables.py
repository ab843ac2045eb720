"""A TOML file of named rows, checked by a pydantic model; a complaint names file, line, row and field."""

import re
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from cratecli.errors import RegistryError, validation_message

_LARGEST = 1 << 20  # bytes; the packaged registry has 10,000
_LONGEST = 300  # characters of a file's own words in an error
_Model = TypeVar("_Model", bound=BaseModel)


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises `RegistryError` when it is unreadable, larger than a megabyte, or a device."""
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # a pipe or a device may never end
            raise RegistryError(f"{path}: not a file")
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise RegistryError(f"{path}: {error}") from None
    if len(content) > _LARGEST:
        raise RegistryError(f"{path}: more than {_LARGEST:,} bytes, not a registry")
    return content


def parse_rows(path: Path, content: bytes, kind: type[_Model]) -> _Model:
    """Read the content of a TOML file, whose rows are its tables `[GROUP.NAME]`, as a pydantic model.

    Raises `RegistryError`, as `FILE:LINE: GROUP.NAME: reason`, for what is no TOML or no such model.
    """
    try:
        text = content.decode()
        return kind.model_validate(tomllib.loads(text))
    except UnicodeDecodeError as error:
        line, reason = 1 + content.count(b"\n", 0, error.start), "not UTF-8"
    except RecursionError:
        line, reason = 1, "nested too deeply"
    except ValidationError as error:
        keys = error.errors(include_url=False)[0]["loc"]
        row = keys[:2] if len(keys) > 1 else ()
        line, reason = _line(text, keys), _cut(validation_message(error, within=len(row)))
        if row:
            reason = f"{_cut('.'.join(map(str, row)))}: {reason}"
    except ValueError as error:
        reason, _, place = str(error).partition(" (at ")
        at = re.match(r"line (\d+)", place)
        line, reason = int(at[1]) if at else 1 + content.count(b"\n"), _cut(reason)
    raise RegistryError(f"{path}:{line}: {reason}")


def _line(text: str, keys: tuple[int | str, ...]) -> int:
    """Find the line of a field, or of the nearest table around it that has a header."""
    start, end, inner = 0, len(text), 0
    for depth in range(len(keys), 0, -1):
        title = r"[ \t]*\.[ \t]*".join(rf"(?:\"?{re.escape(str(key))}\"?)" for key in keys[:depth])
        if header := re.search(rf"^[ \t]*\[[ \t]*{title}[ \t]*\]", text, re.M):
            following = re.compile(r"^[ \t]*\[", re.M).search(text, header.end())
            start, end, inner = header.end(), following.start() if following else len(text), depth
            break
    if inner < len(keys):
        field = re.compile(rf"^[ \t]*{re.escape(str(keys[inner]))}[ \t]*=", re.M).search(text, start, end)
        start = field.end() if field else start
    return 1 + text.count("\n", 0, start)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
