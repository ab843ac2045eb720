"""Words that go with numbers, and words as the shell takes them."""

import difflib
import re
import shlex
from collections.abc import Iterable


def count_of(number: int, noun: str, verbs: tuple[str, str] = ("", "")) -> str:
    """Write a number of things, and the verb that goes with it: for one thing, and for any other number.

    >>> count_of(1, "photo"), count_of(2000, "batch"), count_of(1, "class", ("was", "were"))
    ('1 photo', '2,000 batches', '1 class was')
    """
    plural = "es" if noun.endswith(("s", "ch")) else "s"
    words = f"{number:,} {noun}{'' if number == 1 else plural}"
    return f"{words} {verbs[number != 1]}".rstrip()


def as_path(name: str) -> str:
    """Keep a path from being taken for an option."""
    return f"./{name}" if name.startswith("-") and name != "-" else name


def quoted(word: str) -> str:
    """Quote a word for the shell, on one line; what is not printable is written as bash's `$'…'` has it.

    >>> print(quoted("it's"), quoted("two\nlines"))
    'it'"'"'s' $'two\\x0alines'
    """
    if word.isprintable():
        return shlex.quote(word)
    code = word.encode("utf-8", "surrogateescape").decode("latin-1")
    return "$'" + re.sub(r"[^ -&(-\[\]-~]", lambda found: f"\\x{ord(found[0]):02x}", code) + "'"


def nearest(name: str, names: Iterable[str]) -> str:
    """Suggest the nearest of the names, as the end of an error; empty when none is near."""
    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {near[0]}?" if near else ""
