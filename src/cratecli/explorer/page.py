"""Put a page together: one HTML file with its style and scripts inside, that loads nothing from anywhere else."""

import hashlib
import html
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from cratecli.explorer.pack import text_of
from cratecli.io.formats.pages import CONTENTS, MARK, as_json

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


def page(
    title: str,
    contents: Mapping[str, Any],
    data: Sequence[str] = (),
    *,
    folder: bool = False,
    served: bool = False,
) -> str:
    """Write a page: `contents` are its facts and the cards of its photos, `data` the JSON of each.

    A page of a `folder` may load scripts that lie beside it, where the data are then. One that is `served` takes photos
    that are dropped, and may ask its server about them.
    """
    style, script = _read("style.css") + (_read("drop.css") if served else ""), _script(served=served)
    beside = " file: 'self'" if folder else ""
    asking = " connect-src 'self';" if served else ""
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'{beside}; style-src '{_digest(style)}'; "
        f"img-src data: blob:;{asking} base-uri 'none'; form-action 'none'"
    )
    blocks = "\n".join(
        f'<script type="application/json" id="photo-{number}">{text}</script>'
        for number, text in enumerate(data)
    )
    filled = {
        "policy": policy,
        "title": html.escape(title),
        "style": style,
        "drop": _read("drop.html") if served else "",
        "hidden": " hidden" if served else "",
        "contents": f"{CONTENTS}{as_json(contents)}</script>",
        "script": script,
        "data": blocks,
    }
    parts = _read("template.html").split("{{")
    return (
        MARK
        + parts[0]
        + "".join(filled[name] + rest for name, _, rest in (p.partition("}}") for p in parts[1:]))
    )


@cache
def _script(*, served: bool) -> str:
    joined = "\n".join(_read(f"{name}.js") for name in (*SCRIPTS, *(["drop"] if served else [])))
    return f'\n"use strict";\n(() => {{\n{joined}}})();\n'


@cache
def _read(name: str) -> str:
    return (files("cratecli.explorer") / "page" / name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{text_of(hashlib.sha256(text.encode()).digest())}"
