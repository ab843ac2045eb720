"""Write the pages and data files of `crate explore` so that they say how they were made, and read that again."""

import json
import re
from collections.abc import Mapping
from typing import Any

MARK = "<!doctype html>\n<!-- crate explore -->\n"
"""How a page begins."""

BEGINNING, MIDDLE, END = "crate.receive(", ",\n", ");\n"
"""What stands before, between and after the card and the data of a photo, in a data file."""

CONTENTS = '<script type="application/json" id="contents">'
"""What stands before the facts of a page."""


def as_json(data: object) -> str:
    """Write JSON that neither ends a script nor opens a comment in HTML, in ASCII, on one line.

    >>> as_json({"name": "</script>"})
    '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_file(card: Mapping[str, Any], data: str) -> str:
    """Write a photo's data, JSON, as a script that hands them to the page: browsers load no JSON from a folder."""
    return f"{BEGINNING}{as_json(card)}{MIDDLE}{data}{END}"


def card_in(start: str) -> dict[str, Any] | None:
    """Read the card in the first line of a data file; `None` for another file."""
    if not start.startswith(BEGINNING) or not start.endswith(MIDDLE):
        return None
    try:
        card = json.loads(start[len(BEGINNING) : -len(MIDDLE)])
    except (ValueError, RecursionError):
        return None
    return card if isinstance(card, dict) and {"name", "thumbnail"} <= card.keys() else None


def is_page(start: bytes) -> bool:
    """Tell by a file's first bytes whether it may be a page or a data file."""
    return start.startswith((MARK.encode(), BEGINNING.encode()))


def provenance_in(content: bytes) -> object:
    """Read how a page or a data file was made, as plain data; `None` if it does not say.

    Raises `ValueError` for other files.
    """
    text = content.decode("utf-8", "replace")
    if text.startswith(BEGINNING):
        return (card_in(text.partition("\n")[0] + "\n") or {}).get("crate")
    found = re.search(f"{re.escape(CONTENTS)}(.*?)</script>", text, re.DOTALL)
    facts = json.loads(found[1]) if found else None
    if not isinstance(facts, dict):
        raise ValueError("no page of ours")
    return facts.get("crate")
