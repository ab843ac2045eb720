"""Downloads from Google Drive, which may answer with a page: to confirm an unscanned file, or with a reason."""

import re
from html.parser import HTMLParser
from typing import BinaryIO
from urllib.parse import urlencode

from cratecli.weights.download import DownloadError, OnBytes, PageError, from_web

ADDRESS = "https://drive.usercontent.google.com/download"

_PAGES = {
    r"quota|too many users have viewed": "its download quota for this file is used up: try again in a day",
    r"download-form": "it asks to confirm a file it could not scan for viruses, again and again",
    r"sign in|servicelogin": "it wants a login: the file is not shared with everyone",
    r"not found|does not exist": "it has no such file",
}
"""The meaning of a page by words in it; the first match counts."""


def from_drive(file_id: str, stream: BinaryIO, on_bytes: OnBytes, *, exactly: int | None) -> None:
    """Download a file from Google Drive as `from_web` does, and answer the page about unscanned files.

    Only the hidden fields of that page's form are used: they go to Drive, wherever the form points to.
    Raises `DownloadError` with the meaning of a page, and what `from_web` raises.
    """
    asked = {"id": file_id, "export": "download", "confirm": "t"}
    try:
        try:
            from_web(f"{ADDRESS}?{urlencode(asked)}", stream, on_bytes, exactly=exactly)
        except PageError as page:
            if not (fields := _confirmation(page.text)):
                raise
            from_web(f"{ADDRESS}?{urlencode(asked | fields)}", stream, on_bytes, exactly=exactly)
    except PageError as page:
        meanings = (meaning for words, meaning in _PAGES.items() if re.search(words, page.text, re.I))
        raise DownloadError(next(meanings, str(page))) from None


class _Form(HTMLParser):
    """Reads the hidden fields of the form with which Drive asks to confirm."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = False
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.inside = known.get("id") == "download-form"
        elif tag == "input" and self.inside and known.get("type") == "hidden" and "name" in known:
            self.fields[known["name"]] = known.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "form"


def _confirmation(page: str) -> dict[str, str]:
    """Read the fields that confirm a download; none when the page asks for no confirmation."""
    form = _Form()
    form.feed(page)
    return form.fields
