"""Names inside hand-off files stay below their folder, and text is such as every format holds."""

import json
from pathlib import PurePosixPath, PureWindowsPath
from xml.etree import ElementTree

import pytest

from cratecli.io.formats.names import bare, plain, safe, stems

PATHS = {
    "photos/a.jpg": "photos/a.jpg",
    "../../etc/passwd": "etc/passwd",
    "/etc/passwd": "etc/passwd",
    "a/../../b.jpg": "a/b.jpg",
    "./a//b/./c.jpg": "a/b/c.jpg",
    "C:\\Windows\\a.jpg": "C%3A/Windows/a.jpg",
    "c:a.jpg": "c%3Aa.jpg",
    "x/D:/a.jpg": "x/D%3A/a.jpg",
    "..\\..\\a.jpg": "a.jpg",
    "\\\\server\\share\\a.jpg": "server/share/a.jpg",
    ".. /... /a.jpg": "a.jpg",
    "a\nb\x1b[31m.jpg": "a%0Ab%1B[31m.jpg",
    "a\x00.jpg": "a%00.jpg",
    "\udcff.jpg": "%FF.jpg",
    "-rf.png": "-rf.png",
    "12:30:00 ä [red].png": "12:30:00 ä [red].png",
    "shot at 10\u202fPM.png": "shot at 10\u202fPM.png",
    "..": "photo",
    "": "photo",
}


@pytest.mark.parametrize(("path", "name"), PATHS.items())
def test_paths_stay_below(path: str, name: str) -> None:
    assert safe(path) == name
    assert safe(name) == name
    for kind in (PurePosixPath, PureWindowsPath):
        assert not kind(name).is_absolute()
        assert ".." not in kind(name).parts
        assert not kind(name).drive


@pytest.mark.parametrize(
    "character", ["\x00", "\x1f", "\x7f", "\x85", "\u2028", "\udcff", "\ud800", "\uffff"]
)
def test_plain_text_goes_into_every_format(character: str) -> None:
    text = plain(f"a{character}b")
    assert character not in text
    assert len(text.splitlines()) == 1
    assert plain(text) == text
    assert ElementTree.fromstring(f"<a>{text}</a>".encode()).text == text
    assert json.loads(json.dumps(text, ensure_ascii=False).encode()) == text


def test_different_names_stay_different() -> None:
    assert len({plain(f"{chr(code)}.jpg") for code in range(0xDC80, 0xDD00)}) == 128


def test_those_that_share_a_stem_keep_their_extension() -> None:
    names = ["a.jpg", "b.jpg", "B.png", "sub/b.jpg", "c", "c.png", "d.jpg", "d.png", "d.jpg.png", "e"]
    expected = ["a", "b.jpg", "B.png", "sub/b", "c", "c.png", "d.jpg", "d.png", "d.jpg.png", "e"]
    assert stems(names) == expected
    assert len(set(map(str.casefold, expected))) == len(names)
    assert [bare(name) for name in ("a.jpg", "x/b.tar.gz", ".hidden")] == ["a", "x/b.tar", ".hidden"]
