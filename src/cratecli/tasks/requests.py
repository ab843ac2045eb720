"""What the worker is asked: a request a line, typed; its options are those of the question, each said once."""

import base64
import os
from collections.abc import Mapping, Sequence
from reprlib import repr as short
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import Field, ValidationError

from cratecli.errors import InputError, UsageError
from cratecli.records import Record
from cratecli.tasks.options import ObjectOptions, PictureOptions, SegmentOptions, check, explained

Kind = TypeVar("Kind", bound=str)


class SegmentRequestOptions(SegmentOptions, PictureOptions, total=False):
    """What `segment` is asked: how attention becomes a mask, and what the picture shows."""


COMMANDS: dict[str, type] = {"segment": SegmentRequestOptions, "objects": ObjectOptions}


class Request(Record):
    """One request to the worker, beside the options of its question: see `segment` and `objects` in Python."""

    id: Any = Field(default=None, description="Anything: the answer has it too.")
    command: Literal["segment", "objects"] = Field(default="segment", description="The question.")
    input: str | None = Field(default=None, description="The photo's path; or `image`.")
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
        """Decode `image`. Raises `InputError`."""
        try:
            return base64.b64decode(
                "".join((self.image or "").split()), validate=True
            )  # `base64` breaks lines
        except ValueError:
            raise InputError("image is not base64") from None


class WorkerFailure(Record):
    """The worker's answer where a request, or its photo, is wrong; with the request's `id`."""

    error: str = Field(description="What is wrong, in one line.")
    exit_code: int = Field(description="The exit code that the command would have ended with.")


def read_request(fields: Mapping[str, Any]) -> Request:
    """Check a request. Raises `UsageError` that names the field."""
    command = fields.get("command", "segment")
    if not isinstance(command, str) or command not in COMMANDS:
        raise UsageError(f"command is {short(command)}, not one of {', '.join(COMMANDS)}")
    options = COMMANDS[command]
    known = dict.fromkeys([*_ENVELOPE, *get_type_hints(options)])
    if command == "objects":
        del known["rle"]
    if unknown := [name for name in fields if name not in known]:
        raise UsageError(f"unknown field {short(unknown[0])}; {command} takes {', '.join(known)}")
    given = {name: value for name, value in fields.items() if name in _ENVELOPE}
    if empty := [name for name, value in given.items() if value is None and name != "id"]:
        raise UsageError(f"{empty[0]} is None, not a value: leave the field out")
    for name in ("input", "output"):
        if name in fields and not _is_path(fields[name]):
            raise UsageError(f"{name} is {short(fields[name])}, not a path")
    asked = check(options, {name: value for name, value in fields.items() if name not in _ENVELOPE})
    try:
        request = Request.model_validate(given | {"asked": asked})
    except ValidationError as error:
        raise UsageError(explained(error, given)) from None
    if ("input" in fields) == ("image" in fields):
        raise UsageError("a request has either input, a path, or image, a photo's bytes in base64")
    return request


_ENVELOPE = [name.rstrip("_") for name in Request.model_fields if name != "asked"]
"""The fields beside the options."""


def _is_path(name: object) -> bool:
    try:
        return isinstance(name, str) and b"\0" not in os.fsencode(name) and name not in ("", "-")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
