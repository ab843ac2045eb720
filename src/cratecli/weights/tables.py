"""TOML read strictly: every field has one type, none is left over, and a complaint names file and line."""

import math
import re
import reprlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cratecli.errors import RegistryError

_LARGEST = 1 << 20  # bytes; the packaged registry has 10,000
_TOLD = 300  # characters of a file's own words in an error
_KINDS = {str: "a string", int: "a whole number", bool: "true or false", dict: "a table", list: "a list"}
_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Table:
    """One table of a file. Fields are taken out one by one; what is left at the `finish` is unknown."""

    file: Path
    text: str = field(repr=False)
    path: tuple[str, ...]
    rest: dict[str, Any]

    def broken(self, reason: str, name: str = "") -> RegistryError:
        """Say what is wrong with this table, or with its field `name`, and in which line."""
        start, end = self._span()
        place = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*=", re.M).search(self.text, start, end)
        line = 1 + self.text.count("\n", 0, place.end() if name and place else start)
        told = [_cut(".".join(self.path)), _cut(reason)]
        return RegistryError(": ".join([f"{self.file}:{line}", *filter(None, told)]))

    def take(self, name: str, kind: type[_Kind]) -> _Kind | None:
        """Take a field that may be missing. Raises `RegistryError` when it is of another type."""
        value = self.rest.pop(name, None)
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        raise self.broken(f"{name} is {reprlib.repr(value)}, not {_KINDS[kind]}", name)

    def need(self, name: str, kind: type[_Kind]) -> _Kind:
        """Take a field that must be there. Raises `RegistryError`."""
        if (value := self.take(name, kind)) is None:
            raise self.broken(f"{name} is missing")
        return value

    def number(self, name: str) -> float:
        """Take a finite number, whole or not, that must be there. Raises `RegistryError`."""
        value = self.rest.pop(name, None)
        try:
            if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
                return float(value)
        except OverflowError:
            pass  # a whole number of hundreds of digits
        raise self.broken(f"{name} is {reprlib.repr(value)}, not a number", name)

    def table(self, name: str) -> "Table | None":
        """Take a table within this one, which may be missing. Raises `RegistryError` when it is no table."""
        values: dict[str, Any] | None = self.take(name, dict)
        return None if values is None else Table(self.file, self.text, (*self.path, name), values)

    def tables(self, name: str) -> dict[str, "Table"]:
        """Take a table of tables. Raises `RegistryError` when it holds anything else."""
        outer = self.table(name)
        names = list(outer.rest) if outer else []
        inner = {key: outer.table(key) for key in names} if outer else {}
        return {key: table for key, table in inner.items() if table}

    def finish(self) -> None:
        """Raise `RegistryError` for a field nobody took."""
        for name in self.rest:
            raise self.broken(f"unknown field {name!r}", name)

    def _span(self) -> tuple[int, int]:
        """Find this table, or the nearest one around it that has a header, in the text."""
        for depth in range(len(self.path), 0, -1):
            title = r"[ \t]*\.[ \t]*".join(rf"(?:\"?{re.escape(key)}\"?)" for key in self.path[:depth])
            if header := re.search(rf"^[ \t]*\[[ \t]*{title}[ \t]*\]", self.text, re.M):
                following = re.compile(r"^[ \t]*\[", re.M).search(self.text, header.end())
                return header.end(), following.start() if following else len(self.text)
        return 0, len(self.text)


def _cut(text: str) -> str:
    return text if len(text) <= _TOLD else f"{text[:_TOLD]}…"


def read_table(path: Path) -> Table:
    """Read a TOML file. Raises `RegistryError`, as `FILE:LINE: reason`, when it is unreadable or no TOML."""
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # a pipe or a device may never end
            raise RegistryError(f"{path}: not a file")
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise RegistryError(f"{path}: {error}") from None
    if len(raw) > _LARGEST:
        raise RegistryError(f"{path}: more than {_LARGEST:,} bytes, not a registry")
    try:
        text = raw.decode()
        return Table(path, text, (), tomllib.loads(text))
    except UnicodeDecodeError as error:
        line, reason = 1 + raw.count(b"\n", 0, error.start), "not UTF-8"
    except RecursionError:
        line, reason = 1, "nested too deeply"
    except ValueError as error:
        reason, _, place = str(error).partition(" (at ")
        at = re.match(r"line (\d+)", place)
        line = int(at[1]) if at else 1 + raw.count(b"\n")
    raise RegistryError(f"{path}:{line}: {_cut(reason)}")
