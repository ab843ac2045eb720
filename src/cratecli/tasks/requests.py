"""What worker and server are asked: a request, typed; its options are those of the question, each said once."""

import base64
import json
import os
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from reprlib import repr as short
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import Field, ValidationError

from cratecli.emergence.rules import AUTO_HEAD, BUILT_IN_HEAD, NO_HEAD
from cratecli.errors import InputError, UsageError
from cratecli.io.background import is_colour
from cratecli.records import Record
from cratecli.tasks.options import ObjectOptions, PictureOptions, SegmentOptions, check, explained

Kind = TypeVar("Kind", bound=str)


class SegmentRequestOptions(SegmentOptions, PictureOptions, total=False):
    """What `segment` is asked: how attention becomes a mask, and what the picture shows."""


COMMANDS: dict[str, type] = {"segment": SegmentRequestOptions, "objects": ObjectOptions}


class Request(Record):
    """One request, beside the options of its question: see `segment` and `objects` in Python."""

    id: Any = Field(default=None, description="Anything: the answer has it too.")
    command: Literal["segment", "objects"] = Field(default="segment", description="The question.")
    input: str | None = Field(
        default=None, description="The photo's path or URL, or `a.tar::b.jpg` in a shard; or `image`."
    )
    image: str | None = Field(default=None, description="The photo's bytes in base64; or `input`.")
    output: str | None = Field(
        default=None, description="The picture's path: .png, .webp or .jpg, as --output has it."
    )
    as_: str | None = Field(
        default=None,
        validation_alias="as",
        serialization_alias="as",
        description="What is drawn, as --as has it.",
    )
    png: bool = Field(default=False, description="Whether the answer holds the picture, a PNG, in base64.")
    rle: bool | None = Field(
        default=None, description="Whether the answer holds the mask; unless said, without `output`."
    )
    asked: dict[str, Any] = Field(default={}, description="The options of the question.", exclude=True)
    content: bytes | None = Field(default=None, description="The photo's bytes, posted.", exclude=True)

    @property
    def drawn(self) -> bool:
        """Tell whether a picture is drawn at all."""
        return self.output is not None or self.png

    @property
    def with_rle(self) -> bool:
        """Tell whether the answer holds the mask."""
        return self.output is None if self.rle is None else self.rle

    def picture(self, kinds: Sequence[Kind]) -> Kind | None:
        """Tell which picture is named, if any is. Raises `UsageError`."""
        for kind in kinds:
            if kind == self.as_:
                return kind
        if self.as_ is not None:
            raise UsageError(f"as is {short(self.as_)}, not one of {', '.join(kinds)}")
        return None

    def of(self, options: type) -> Any:
        """Give what was asked of some options."""
        return {name: value for name, value in self.asked.items() if name in get_type_hints(options)}

    def photo(self) -> bytes:
        """Give the photo's bytes, posted or in `image`. Raises `InputError`."""
        if self.content is not None:
            return self.content
        try:
            return base64.b64decode(
                "".join((self.image or "").split()), validate=True
            )  # `base64` breaks lines
        except ValueError:
            raise InputError("image is not base64") from None


class WorkerFailure(Record):
    """The answer of worker or server where a request, or its photo, is wrong; the worker's has the request's `id`."""

    error: str = Field(description="What is wrong, in one line.")
    exit_code: int = Field(description="The exit code that the command would have ended with.")


def parse_request(text: bytes, what: str = "a line of JSON") -> dict[str, Any]:
    """Read the fields of a request: a JSON object that names nothing twice. Raises `UsageError`."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise UsageError("a request names each field once")
        return fields

    try:
        request = json.loads(text.removeprefix(BOM_UTF8), object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise UsageError(f"a request is {what}") from None
    if not isinstance(request, dict):
        raise UsageError("a request is a JSON object")
    return request


def read_request(fields: Mapping[str, Any]) -> Request:
    """Check a request to the worker. Raises `UsageError` that names the field."""
    command = fields.get("command", "segment")
    if not isinstance(command, str) or command not in COMMANDS:
        raise UsageError(f"command is {short(command)}, not one of {', '.join(COMMANDS)}")
    request = _checked(fields, command, _ENVELOPE)
    if ("input" in fields) == ("image" in fields):
        raise UsageError("a request has either input, a path, or image, a photo's bytes in base64")
    return request


def read_post(command: str, fields: Mapping[str, Any], photo: bytes | None = None) -> Request:
    """Check a request that came over a network, with its photo or with `image`: it may name no file.

    Raises `UsageError` that names the field.
    """
    for name, reason in _NOT_POSTED.items():
        if fields.get(name, False) not in (False, AUTO_HEAD, BUILT_IN_HEAD, NO_HEAD):
            raise UsageError(f"{name} {reason}: leave it out")
    if (ground := fields.get("background")) is not None and not is_colour(str(ground)):
        raise UsageError(f"background is {short(ground)}, not a colour: a server reads no file")
    request = _checked(fields, command, _POSTED)
    if (photo is None) == (request.image is None):
        raise UsageError("a request has one photo: its bytes, or image, the same in base64")
    return request.model_copy(update={"content": photo})


def fields_of(command: str) -> dict[str, Any]:
    """Give the fields of a request that comes over a network, beside `image`, and their types."""
    types: dict[str, Any] = {
        name: Request.model_fields["as_" if name == "as" else name].annotation for name in _POSTED
    }
    options = COMMANDS[command]
    hints = types | get_type_hints(options, include_extras=True)
    hidden = {"image", *_NOT_POSTED, *(["rle"] if command == "objects" else [])}
    return {name: hint for name, hint in hints.items() if name not in hidden}


def _checked(fields: Mapping[str, Any], command: str, envelope: Sequence[str]) -> Request:
    """Check fields that are in the envelope, and options, which are all others."""
    options = COMMANDS[command]
    known = dict.fromkeys([*envelope, *get_type_hints(options)])
    if command == "objects":
        del known["rle"]
    if unknown := [name for name in fields if name not in known]:
        raise UsageError(f"unknown field {short(unknown[0])}; {command} takes {', '.join(known)}")
    given = {name: value for name, value in fields.items() if name in envelope}
    if empty := [name for name, value in given.items() if value is None and name != "id"]:
        raise UsageError(f"{empty[0]} is None, not a value: leave the field out")
    for name in ("input", "output"):
        if name in given and not _is_path(given[name]):
            raise UsageError(f"{name} is {short(given[name])}, not a path")
    asked = check(options, {name: value for name, value in fields.items() if name not in envelope})
    try:
        return Request.model_validate({"command": command} | given | {"asked": asked})
    except ValidationError as error:
        raise UsageError(explained(error, given)) from None


_ENVELOPE = [name.rstrip("_") for name in Request.model_fields if name not in ("asked", "content")]
"""The fields beside the options."""

_POSTED = ("image", "as", "png", "rle")
"""Those of a request that comes over a network."""

_NOT_POSTED = {
    "head": "names a file, and a server reads none",
    "matting": "may take minutes, and a server has seconds",
}
"""Options that a request over a network may not have, and why."""


def _is_path(name: object) -> bool:
    try:
        return isinstance(name, str) and b"\0" not in os.fsencode(name) and name not in ("", "-")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
