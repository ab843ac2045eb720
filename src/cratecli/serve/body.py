"""Read what was posted: a photo as it is, in a form or in JSON, and the fields of the request beside it."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request as Received

from cratecli.errors import UsageError
from cratecli.serve.refused import RefusedError
from cratecli.tasks.requests import Request, fields_of, parse_request, read_post

UNNAMED = "photo"
"""What a photo is called that came without a name."""

LONGEST_NAME = 255
MOST_VALUES = 1_000_000  # of JSON: tasks of Label Studio hold masks as lists of bytes
MOST_FIELDS, LONGEST_FIELD = 64, 1 << 16  # of a form; bytes

_AS_THEY_ARE = ("application/octet-stream", "application/x-www-form-urlencoded", "")  # curl says the second
_KINDS = "a photo (image/…), a form (multipart/form-data) or JSON (application/json)"


@dataclass(frozen=True, eq=False)
class Posted:
    """What was posted: the name of the photo, its bytes unless they are among the fields, and the fields."""

    called: str
    photo: bytes | None
    fields: Mapping[str, Any]


async def read_body(received: Received, command: str) -> Posted:
    """Read photo and fields. Raises `RefusedError` for another body, and `UsageError` for a field that is wrong."""
    kind = received.headers.get("content-type", "").partition(";")[0].strip().lower()
    asked = [(name, value) for name, value in received.query_params.multi_items()]
    if kind == "application/json":
        posted = Posted(UNNAMED, None, read_json(await received.body()))
    elif kind == "multipart/form-data":
        called, photo, more = await _form(received)
        posted, asked = Posted(called, photo, {}), asked + more
    elif kind.startswith("image/") or kind in _AS_THEY_ARE:
        posted = Posted(UNNAMED, await received.body(), {})
        if not posted.photo:
            raise UsageError(f"the body is empty: it is {_KINDS}")
    else:
        raise RefusedError(415, f"{kind[:80]}: a body is {_KINDS}")
    texts: dict[str, list[str]] = {}
    for name, text in asked:
        texts.setdefault(name, []).append(text)
    if twice := texts.keys() & posted.fields.keys():
        raise UsageError(f"a request names each field once, and {min(twice)} stands in address and body")
    return Posted(posted.called, posted.photo, {**posted.fields, **_values(texts, command)})


async def read_question(received: Received, command: str) -> tuple[Request, str]:
    """Read a question about a photo, and what the photo is called. Raises what `read_body` and `read_post` raise."""
    posted = await read_body(received, command)
    return read_post(command, posted.fields, posted.photo), posted.called


def read_json(body: bytes) -> dict[str, Any]:
    """Read a JSON object. Raises `RefusedError` for one that would take seconds, and what `parse_request` raises."""
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise RefusedError(413, f"the JSON has more than {MOST_VALUES:,} values")
    return parse_request(body, "JSON")


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 40  # the body is in memory already: nothing of it goes to the disk


async def _form(received: Received) -> tuple[str, bytes, list[tuple[str, str]]]:
    """Read a form: one file, `image`, and fields of text."""

    async def body() -> AsyncGenerator[bytes, None]:
        yield await received.body()

    parser = _InMemory(
        received.headers, body(), max_files=1, max_fields=MOST_FIELDS, max_part_size=LONGEST_FIELD
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeError, AssertionError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "it cannot be read"
        raise RefusedError(400, f"the form is broken: {reason}") from None
    try:
        files = [(name, each) for name, each in form.multi_items() if isinstance(each, UploadFile)]
        if [name for name, _ in files] != ["image"]:
            raise UsageError("a form has one file, image, and fields of text")
        ((_, file),) = files
        fields = [(name, each) for name, each in form.multi_items() if isinstance(each, str)]
        return plain_name(file.filename or ""), await file.read(), fields
    finally:
        await form.close()


def plain_name(name: str) -> str:
    """Take from what a client calls a photo a name without folders that can be printed; it is never a path.

    >>> plain_name("../../etc/passwd"), plain_name("C:\\\\photos\\\\a.jpg"), plain_name("..")
    ('passwd', 'a.jpg', 'photo')
    """
    name = name.replace("%22", '"')  # as browsers write it in a form
    last = PurePosixPath(name.replace("\\", "/")).name
    printable = "".join(each for each in last if each.isprintable())[-LONGEST_NAME:]
    return UNNAMED if printable.strip(". ") == "" else printable


def _values(texts: Mapping[str, Sequence[str]], command: str) -> dict[str, Any]:
    """Read fields that came as text: as JSON, where they are no text themselves. Raises `UsageError`.

    Numbers with commas between are a list. Fields that are not known stay text: whoever checks them says so.
    """
    hints = fields_of(command)
    values: dict[str, Any] = {}
    for name, given in texts.items():
        if name in ("at", "not_at"):
            values[name] = [pixel for text in given for pixel in _pixels(text)]
        elif len(given) > 1:
            raise UsageError(f"a request names each field once, and {name[:80]} stands {len(given)} times")
        else:
            values[name] = _value(given[0], hints.get(name, str))
    return values


def _pixels(text: str) -> list[Any]:
    """Read one pixel, `120,80`, or a list of them in JSON."""
    value = _json(text if text.startswith("[") else f"[[{text}]]")
    return value if isinstance(value, list) else [text]


def _value(text: str, hint: Any) -> Any:
    kinds = set(_kinds(hint))
    if kinds <= {str, Literal}:
        return text
    if list in kinds and not text.startswith("[") and not text[:1].isalpha():
        text = f"[{text}]"
    return _json(text)


def _json(text: str) -> Any:
    """Read JSON, or give the text back: whoever checks it says what it should be."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _kinds(hint: Any) -> list[Any]:
    """List the kinds of values that a type allows: `str`, `Literal`, `list`, or another type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kinds(arguments[0])
    if origin in (Union, UnionType):
        return [kind for each in arguments if each is not type(None) for kind in _kinds(each)]
    if origin is Literal:
        return [Literal]
    return [list if isinstance(origin, type) and issubclass(origin, Sequence) else hint]
