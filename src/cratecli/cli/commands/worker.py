"""`crate worker`: a model that stays warm; a JSON request a line in, an answer a line out."""

import base64
import json
import os
import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cratecli.cli import options
from cratecli.cli.console import put, tell
from cratecli.cli.report import what_runs
from cratecli.cli.run import STDIN, Running
from cratecli.cli.signals import Stop, finishing
from cratecli.errors import CrateError, InputError, UsageError

if TYPE_CHECKING:
    from cratecli.runs.batch import Desk
    from cratecli.runs.jobs import Failure, Job, Skipped
    from cratecli.runs.provenance import Setting

Kind = TypeVar("Kind", bound=str)
Result = TypeVar("Result")

LONGEST = 256 << 20  # bytes of a request: a photo of 190 MB in base64
_NUMBERS, _WORDS = "a list of whole numbers", "a string"


@dataclass(frozen=True)
class _Kind:
    """What a field of a request may hold."""

    words: str
    fits: Callable[[Any], bool]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_path(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name) and name not in ("", STDIN)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


_SHARE = _Kind(
    "a number from -1 to 1", lambda value: (_whole(value) or isinstance(value, float)) and -1 <= value <= 1
)
_WHOLE = _Kind("a whole number", _whole)
_LIST = _Kind(_NUMBERS, lambda value: isinstance(value, list) and all(map(_whole, value)))
_WORD = _Kind(_WORDS, lambda value: isinstance(value, str))
_PATH = _Kind("a path", lambda value: isinstance(value, str) and _is_path(value))
_YES = _Kind("true or false", lambda value: isinstance(value, bool))
_HEADS = _Kind(f"{_WORDS} or {_NUMBERS}", lambda value: _WORD.fits(value) or _LIST.fits(value))

_COMMON = {"id": _Kind("anything", lambda _value: True), "command": _WORD, "as": _WORD, "png": _YES}
_COMMON |= {"input": _PATH, "image": _WORD, "output": _PATH, "layers": _LIST, "refine": _WORD}
_FIELDS = {
    "segment": {"sizes": _LIST, "heads": _HEADS, "keep": _WORD, "min_area": _SHARE}
    | {"largest": _YES, "fill_holes": _YES, "rle": _YES},
    "objects": {"size": _WHOLE, "count": _WHOLE, "tau": _SHARE, "min_score": _SHARE},
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
    from cratecli.runs.batch import Desk
    from cratecli.weights.checkpoint import load_model

    loaded = load_model(model, device=device, dtype=dtype)
    desk = Desk(loaded, 1, max_pixels=max_pixels or MAX_PIXELS)
    if not quiet:
        tell(f"{what_runs(loaded)}: ready")
        desk.note = tell
    settings = Running(max_pixels=max_pixels).settings
    with finishing() as stop:
        for line in _requests(stop):
            put([_answered(line, desk, settings)])
        if stop():
            raise SystemExit(stop.exit_code)


def _requests(stop: Stop) -> Iterator[bytes]:
    """Read lines, until stdin or the program is asked to end; blank ones are passed over, long ones are cut."""
    while sys.stdin is not None and not stop():
        with stop.at_rest():
            line = rest = sys.stdin.buffer.readline(LONGEST + 1)
            while len(rest) > LONGEST and not rest.endswith(b"\n"):
                rest = sys.stdin.buffer.readline(LONGEST + 1)
        if not line:
            return
        if line.strip():
            yield line


def _answered(line: bytes, desk: "Desk", settings: "Mapping[str, Setting]") -> str:
    """Answer one request, in JSON; what is wrong with it, or with its photo, is an answer too."""
    known: dict[str, Any] = {}
    try:
        request = _read(line)
        known = {"id": request["id"]} if "id" in request else {}
        answer = _done(request, desk, settings)
    except CrateError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    return json.dumps(known | answer)


def _read(line: bytes) -> dict[str, Any]:
    """Read a request: JSON whose id can be given back, and that names nothing twice. Raises `UsageError`."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise UsageError("a request names each field once")
        return found

    try:
        if len(line) > LONGEST:
            raise ValueError("too long")
        request = json.loads(line, object_pairs_hook=once)
        if isinstance(request, dict):
            json.dumps(request.get("id"), allow_nan=False)
            return request
    except (ValueError, RecursionError):
        raise UsageError("a request is a line of JSON") from None
    raise UsageError("a request is a JSON object")


def _done(request: dict[str, Any], desk: "Desk", settings: "Mapping[str, Setting]") -> dict[str, Any]:
    from cratecli.runs.jobs import Job

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
            image = "".join(request["image"].split())  # `base64` breaks lines
            desk = replace(desk, stdin=base64.b64decode(image, validate=True))
        except ValueError:
            raise InputError("image is not base64") from None
    source, target = (Path(request[name]) if name in request else None for name in ("input", "output"))
    if target is not None:
        _refuse(target, request["output"], source)
    make = _segment if command == "segment" else _objects
    return make(request, Job(source, target), desk, settings)


def _refuse(target: Path, named: str, source: Path | None) -> None:
    from cratecli.runs.plan import refuse_output

    if named.endswith("/") or target.is_dir():
        raise UsageError(f"{named} is a folder: a picture goes to a file")
    refuse_output(target, source)


def _segment(
    request: dict[str, Any], job: "Job", desk: "Desk", settings: "Mapping[str, Setting]"
) -> dict[str, Any]:
    from cratecli.cli.commands.segment import record
    from cratecli.io.formats.png import KINDS
    from cratecli.runs.provenance import provenance
    from cratecli.tasks.recipes import choose_recipe
    from cratecli.tasks.segment import segment_jobs

    names = ("layers", "sizes", "heads", "keep", "refine", "min_area", "largest", "fill_holes")
    recipe = choose_recipe(desk.model, **_asked(request, names))
    kind, drawn = _picture(request, KINDS)
    made = provenance("segment", {"as": kind, **recipe.settings, **settings}, desk.model, 1)
    done = _only(segment_jobs([job], desk, recipe, kind=kind if drawn else None, made=made))
    rle = request.get("rle", "output" not in request)
    return record(done, kind, recipe, rle=rle) | _inside(request, done.png)


def _objects(
    request: dict[str, Any], job: "Job", desk: "Desk", settings: "Mapping[str, Setting]"
) -> dict[str, Any]:
    from cratecli.cli.commands.objects import record
    from cratecli.runs.provenance import provenance
    from cratecli.tasks.objects import PICTURES, choose_object_recipe, objects_jobs

    names = ("layers", "size", "count", "tau", "min_score", "refine")
    recipe = choose_object_recipe(desk.model, **_asked(request, names))
    kind, drawn = _picture(request, PICTURES)
    made = provenance("objects", {"as": kind, **recipe.settings, **settings}, desk.model, 1)
    done = _only(objects_jobs([job], desk, recipe, picture=kind if drawn else None, made=made))
    return record(done, recipe, desk.model) | _inside(request, done.png)


def _asked(request: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Give what was asked for; shares are floating-point numbers, as on the command line, also where 0 is written."""
    asked = {name: request[name] for name in names if name in request}
    shares = {name: float(value) for name, value in asked.items() if name in ("min_area", "tau", "min_score")}
    return asked | shares


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
    from cratecli.runs.jobs import Failure, Skipped

    (outcome,) = outcomes
    if isinstance(outcome, Failure):
        raise outcome.error
    if isinstance(outcome, Skipped):
        raise ValueError("nothing is skipped without a manifest")
    return outcome
