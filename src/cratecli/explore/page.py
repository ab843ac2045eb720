"""Put a page together: one HTML file with its style and scripts inside, that loads nothing from anywhere else."""

import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from cratecli.explore.pack import text_of

MARK = "<!doctype html>\n<!-- crate explore -->\n"
"""How a page begins."""

SCRIPTS = (
    "numbers",
    "state",
    "attention",
    "threshold",
    "parts",
    "png",
    "paint",
    "markup",
    "command",
    "stage",
    "matrix",
    "depth",
    "panels",
    "strip",
    "main",
)
"""The modules of the page, in the order in which they are joined."""

_BEGINNING, _MIDDLE, _END = "crate.receive(", ",\n", ");\n"


def page(title: str, contents: Mapping[str, Any], data: Sequence[str] = (), *, folder: bool = False) -> str:
    """Write a page: `contents` are its facts and the cards of its photos, `data` the JSON of each.

    A page of a `folder` may load scripts that lie beside it, where the data are then.
    """
    style, script = _read("style.css"), _script()
    beside = " file: 'self'" if folder else ""
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'{beside}; style-src '{_digest(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    blocks = "\n".join(
        f'<script type="application/json" id="photo-{number}">{text}</script>'
        for number, text in enumerate(data)
    )
    filled = {
        "policy": policy,
        "title": html.escape(title),
        "style": style,
        "contents": as_json(contents),
        "script": script,
        "data": blocks,
    }
    parts = _read("template.html").split("{{")
    return (
        MARK
        + parts[0]
        + "".join(filled[name] + rest for name, _, rest in (p.partition("}}") for p in parts[1:]))
    )


def data_file(card: Mapping[str, Any], data: str) -> str:
    """Write a photo's data as a script that hands them to the page: a browser loads no JSON from a folder."""
    return f"{_BEGINNING}{as_json(card)}{_MIDDLE}{data}{_END}"


def card_in(start: str) -> dict[str, Any] | None:
    """Read the card in the first line of a data file; `None` for another file."""
    if not start.startswith(_BEGINNING) or not start.endswith(_MIDDLE):
        return None
    try:
        card = json.loads(start[len(_BEGINNING) : -len(_MIDDLE)])
    except ValueError:
        return None
    return card if isinstance(card, dict) and {"name", "thumbnail"} <= card.keys() else None


def as_json(data: object) -> str:
    """Write JSON that neither ends a script nor opens a comment in HTML, in ASCII."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _script() -> str:
    joined = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    return f'\n"use strict";\n(() => {{\n{joined}}})();\n'


@cache
def _read(name: str) -> str:
    return (files("cratecli.explore") / "page" / name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{text_of(hashlib.sha256(text.encode()).digest())}"
