"""`crate worker`: a model that stays warm; a JSON request a line in, an answer a line out."""

import base64
import json
import reprlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from cratecli.cli import options
from cratecli.cli.options import put, tell
from cratecli.cli.report import what_runs
from cratecli.cli.signals import Stop, finishing
from cratecli.errors import CrateError, InputError, UsageError

if TYPE_CHECKING:
    from cratecli.tasks.batch import Desk
    from cratecli.tasks.jobs import Failure, Job, Skipped

Kind = TypeVar("Kind", bound=str)
Result = TypeVar("Result")

LONGEST = 256 << 20  # bytes of a request: a photo of 190 MB in base64
_NUMBERS, _WORDS = "a list of whole numbers", "a string"


@dataclass(frozen=True)
class _Kind:
    """What a field of a request may hold."""

    words: str
    fits: Callable[[object], bool]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_NUMBER = _Kind("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool))
_WHOLE = _Kind("a whole number", _whole)
_LIST = _Kind(_NUMBERS, lambda value: isinstance(value, list) and all(map(_whole, value)))
_WORD = _Kind(_WORDS, lambda value: isinstance(value, str))
_YES = _Kind("true or false", lambda value: isinstance(value, bool))
_HEADS = _Kind(f"{_WORDS} or {_NUMBERS}", lambda value: _WORD.fits(value) or _LIST.fits(value))

_COMMON = {"id": _Kind("anything", lambda _value: True), "command": _WORD, "as": _WORD, "png": _YES}
_COMMON |= {"input": _WORD, "image": _WORD, "output": _WORD, "layers": _LIST, "refine": _WORD}
_FIELDS = {
    "segment": {"sizes": _LIST, "heads": _HEADS, "keep": _WORD, "min_area": _NUMBER}
    | {"largest": _YES, "fill_holes": _YES, "rle": _YES},
    "objects": {"size": _WHOLE, "count": _WHOLE, "tau": _NUMBER, "min_score": _NUMBER},
}


def worker(
    *,
    model: options.Model = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    max_pixels: options.MaxPixels = None,
    quiet: options.Quiet = False,
) -> None:
    """Answer requests for as long as stdin lasts: the model is loaded once.

    A request is a JSON object a line: `{"input": "photo.jpg", "output": "mask.png", "id": 1}`, or `image`, a photo's
    bytes in base64, instead of `input`. `command` is segment (else) or objects; options are named as in Python. The
    answer is the record that `--jsonl` prints, with the request's `id`; without `output` the mask is in it, as RLE.
    """
    from cratecli.io.opening import MAX_PIXELS
    from cratecli.tasks.batch import Desk
    from cratecli.weights.checkpoint import load_model

    loaded = load_model(model, device=device, dtype=dtype)
    desk = Desk(loaded, 1, max_pixels=max_pixels or MAX_PIXELS)
    if not quiet:
        tell(f"{what_runs(loaded)}: ready")
        desk.note = tell
    with finishing() as stop:
        for line in _requests(stop):
            put([json.dumps(_answered(line, desk))])
        if stop():
            raise typer.Exit(stop.exit_code)


def _requests(stop: Stop) -> Iterator[bytes]:
    """Read lines, until stdin or the program is asked to end; blank ones are passed over."""
    while sys.stdin is not None and not stop():
        with stop.at_rest():
            line = sys.stdin.buffer.readline(LONGEST + 1)
        if not line:
            return
        if line.strip():
            yield line


def _answered(line: bytes, desk: "Desk") -> dict[str, Any]:
    """Answer one request; what is wrong with it, or with its photo, is an answer too."""
    request: object = None
    try:
        try:
            if len(line) > LONGEST:
                raise ValueError("too long")
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise UsageError("a request is a line of JSON") from None
        if not isinstance(request, dict):
            raise UsageError("a request is a JSON object")
        answer = _done(request, desk)
    except CrateError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    known = {"id": request["id"]} if isinstance(request, dict) and "id" in request else {}
    return known | answer


def _done(request: dict[str, Any], desk: "Desk") -> dict[str, Any]:
    from cratecli.tasks.jobs import Job

    command = request.get("command", "segment")
    if not isinstance(command, str) or command not in _FIELDS:
        raise UsageError(f"command is {reprlib.repr(command)}, not one of {', '.join(_FIELDS)}")
    fields = _COMMON | _FIELDS[command]
    for name, value in request.items():
        if name not in fields:
            raise UsageError(f"unknown field {reprlib.repr(name)}; {command} takes {', '.join(fields)}")
        if not fields[name].fits(value):
            raise UsageError(f"{name} is {reprlib.repr(value)}, not {fields[name].words}")
    if ("input" in request) == ("image" in request):
        raise UsageError("a request has either input, a path, or image, a photo's bytes in base64")
    if "image" in request:
        try:
            desk = replace(desk, stdin=base64.b64decode(request["image"], validate=True))
        except ValueError:
            raise InputError("image is not base64") from None
    source, target = (Path(request[name]) if name in request else None for name in ("input", "output"))
    _refuse(source, target)
    return (_segment if command == "segment" else _objects)(request, Job(source, target), desk)


def _refuse(source: Path | None, target: Path | None) -> None:
    from cratecli.tasks.plan import refuse_output

    if Path() in (source, target):
        raise UsageError("a path is empty")
    if target is not None:
        refuse_output(target, source)


def _segment(request: dict[str, Any], job: "Job", desk: "Desk") -> dict[str, Any]:
    from cratecli.cli.segment import record
    from cratecli.io.formats.png import KINDS
    from cratecli.tasks.provenance import provenance
    from cratecli.tasks.recipe import choose_recipe
    from cratecli.tasks.segment import segment_jobs

    names = ("layers", "sizes", "heads", "keep", "refine", "min_area", "largest", "fill_holes")
    recipe = choose_recipe(desk.model, **_asked(request, names))
    kind, drawn = _picture(request, KINDS)
    made = provenance("segment", {"as": kind, **recipe.settings}, desk.model, 1)
    done = _only(segment_jobs([job], desk, recipe, kind=kind if drawn else None, made=made))
    rle = request.get("rle", "output" not in request)
    return record(done, kind, recipe, rle=rle) | _inside(request, done.png)


def _objects(request: dict[str, Any], job: "Job", desk: "Desk") -> dict[str, Any]:
    from cratecli.cli.objects import record
    from cratecli.tasks.objects import PICTURES, choose_object_recipe, objects_jobs
    from cratecli.tasks.provenance import provenance

    names = ("layers", "size", "count", "tau", "min_score", "refine")
    recipe = choose_object_recipe(desk.model, **_asked(request, names))
    kind, drawn = _picture(request, PICTURES)
    made = provenance("objects", {"as": kind, **recipe.settings}, desk.model, 1)
    done = _only(objects_jobs([job], desk, recipe, picture=kind if drawn else None, made=made))
    return record(done, recipe, desk.model) | _inside(request, done.png)


def _asked(request: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: request[name] for name in names if name in request}


def _picture(request: dict[str, Any], kinds: Sequence[Kind]) -> tuple[Kind, bool]:
    """Tell which picture is meant, and whether it is drawn at all. Raises `UsageError`."""
    asked = request.get("as", kinds[0])
    kind = next((each for each in kinds if each == asked), None)
    if kind is None:
        raise UsageError(f"as is {reprlib.repr(asked)}, not one of {', '.join(kinds)}")
    return kind, "output" in request or request.get("png", False)


def _inside(request: dict[str, Any], png: bytes) -> dict[str, str]:
    return {"png": base64.b64encode(png).decode()} if request.get("png", False) else {}


def _only(outcomes: "Iterator[Result | Failure | Skipped]") -> Result:
    """Take the one outcome. Raises what failed."""
    from cratecli.tasks.jobs import Failure, Skipped

    (outcome,) = outcomes
    if isinstance(outcome, Failure):
        raise outcome.error
    if isinstance(outcome, Skipped):
        raise ValueError("nothing is skipped without a manifest")
    return outcome
