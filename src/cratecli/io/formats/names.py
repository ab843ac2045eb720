"""Make names safe for annotation files: paths that stay below their folder, and text that every format can hold."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import PurePath, PurePosixPath
from unicodedata import category

from cratecli.files import relative_path

_UNWRITABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, undecodable bytes, line breaks
_NONCHARACTERS = "\ufffe\uffff"  # refused by XML


def plain(text: str) -> str:
    """Escape characters that some format cannot hold, as `%0A`: control characters, line breaks, undecodable bytes.

    >>> plain("two\\nlines \\udcff")
    'two%0Alines %FF'
    """
    return "".join(_escaped(c) if category(c) in _UNWRITABLE or c in _NONCHARACTERS else c for c in text)


def _escaped(character: str) -> str:
    undecoded = "\udc80" <= character <= "\udcff"
    code = character.encode("utf-8", "surrogateescape" if undecoded else "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in code)


def safe(path: str) -> str:
    """Make a path relative, so that it stays below its folder wherever it is unpacked: no root, drive or `..`.

    >>> safe("C:\\\\photos\\\\..\\\\..\\\\etc/passwd")
    'C%3A/photos/etc/passwd'
    """
    parts = [part for part in re.split(r"[/\\]", plain(path)) if part.strip(" .")]
    return "/".join(re.sub(r"^([A-Za-z]):", r"\1%3A", part) for part in parts) or "photo"


def common_root(paths: Iterable[str]) -> str | None:
    """Give the innermost folder that all files lie in, seen from the working folder; nothing where there is none.

    >>> common_root(["in/a.jpg", "in/sub/b.jpg"]), common_root(["../out/a.jpg", "in/b.jpg"]), common_root([])
    ('in', '..', None)
    """
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]  # noqa: PTH100, PTH120 - links are not followed
    try:
        return os.path.relpath(os.path.commonpath(folders))
    except ValueError:  # no path, or several drives
        return None


def common_url(urls: Iterable[str]) -> str:
    """Give what some URLs share, up to a slash; nothing where there is none.

    >>> common_url(["s3://b/out/a.png", "s3://b/out/sub/b.png"]), common_url([])
    ('s3://b/out/', '')
    """
    folders = [url.rpartition("/")[0] for url in urls]
    return f"{os.path.commonpath(folders)}/".replace(":/", "://", 1) if folders else ""


def name_below(path: str, root: str) -> str:
    """Name a photo as annotation files do: its path from a folder on, or all of it where it lies elsewhere.

    >>> name_below("in/sub/b.jpg", "in"), name_below("../x.jpg", "in")
    ('sub/b.jpg', 'x.jpg')
    """
    within = relative_path(path, root)
    return safe(path if PurePath(within).parts[0] == os.pardir else within)


def bare(name: str) -> str:
    """Remove a path's extension."""
    path = PurePosixPath(name)
    return str(path.parent / path.stem)


class Keys:
    """Gives photos keys as they come: their names without extensions, or longer, none twice, ignoring case.

    With `dotless` the last part of a key has no dot.

    >>> key = Keys(dotless=True)
    >>> [key(name) for name in ("a.1.jpg", "a.1.png", "sub/a.jpg", "sub/a.jpg")]
    ['a_1', 'a_1_png', 'sub/a', 'sub/a_jpg']
    """

    def __init__(self, *, dotless: bool = False) -> None:
        """Begin with none."""
        self._taken = set[str]()
        self._dotless = dotless

    def __call__(self, name: str) -> str:
        """Give the key of the next photo."""
        longer = (f"{name}-{number}" for number in count(2))
        key = next(
            each for each in map(self._plain, chain((bare(name), name), longer)) if self._is_free(each)
        )
        self._taken.add(key.casefold())
        return key

    def _is_free(self, key: str) -> bool:
        return key.casefold() not in self._taken

    def _plain(self, key: str) -> str:
        folder, slash, last = key.rpartition("/")
        return f"{folder}{slash}{last.replace('.', '_')}" if self._dotless else key


def stems(names: Sequence[str]) -> list[str]:
    """Remove the extension of each photo's name; names that would then be equal, ignoring case, keep theirs.

    >>> stems(["a.jpg", "sub/a.jpg", "b.jpg", "B.png"])
    ['a', 'sub/a', 'b.jpg', 'B.png']
    """
    taken = Counter(bare(name).casefold() for name in names)
    taken.update({name.casefold() for name in names})
    return [
        bare(name) if taken[bare(name).casefold()] <= (bare(name) == name) + 1 else name for name in names
    ]
