"""What OpenAPI says of a question: its body and its options, from the same typed records that check them."""

from typing import Annotated, Any, get_args, get_origin

from annotated_doc import Doc
from pydantic import TypeAdapter

from cratecli.io.formats.picture import KINDS
from cratecli.tasks.objects import PICTURES
from cratecli.tasks.requests import Request, WorkerFailure, fields_of

_BINARY = {"schema": {"type": "string", "format": "binary"}}
STATUSES = {
    400: "The request cannot be read.",
    401: "The token is missing, or wrong.",
    403: "The page of another server asks.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is neither a photo, nor a form, nor JSON.",
    421: "The request was sent to a name that is not the server's.",
    422: "The photo cannot be read, or an option makes no sense.",
    503: "Too many requests wait; `Retry-After` says when to ask again.",
    504: "There was no answer in time.",
}
FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": WorkerFailure, "description": text} for status, text in STATUSES.items()
}
"""The errors of every question."""


def question(command: str) -> dict[str, Any]:
    """Describe a question's body, and its options, which stand in the address or in a form."""
    options = dict(_options(command))
    form = {"image": {"type": "string", "format": "binary"}} | {
        name: schema | {"description": text} for name, (schema, text) in options.items()
    }
    sent = {"image": {"type": "string", "contentEncoding": "base64"}} | {
        name: schema | {"description": text} for name, (schema, text) in options.items()
    }
    return {
        "parameters": [
            {"name": name, "in": "query", "description": text, "schema": schema}
            for name, (schema, text) in options.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": _BINARY,
                "multipart/form-data": {
                    "schema": {"type": "object", "required": ["image"], "properties": form}
                },
                "application/json": {"schema": {"type": "object", "required": ["image"], "properties": sent}},
            },
        },
    }


def _options(command: str) -> Any:
    for name, hint in fields_of(command).items():
        schema = TypeAdapter(hint).json_schema()
        schema.pop("description", None)
        if name == "as":
            schema = {"enum": list(KINDS if command == "segment" else PICTURES)}
            text = "What is drawn: the answer is a PNG then, unless JSON is asked for."
        elif name in ("png", "rle"):
            text = str(Request.model_fields[name].description)
        else:
            text = next((each.documentation for each in _notes(hint) if isinstance(each, Doc)), "")
        yield name, (schema, text)


def _notes(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()
