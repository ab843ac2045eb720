"""`crate worker`: a model that stays warm; a JSON request a line in, an answer a line out."""

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cratecli.cli import options
from cratecli.cli.console import put, tell
from cratecli.cli.outputs import means_stdout
from cratecli.cli.signals import Stop, finishing
from cratecli.errors import CrateError, UsageError

if TYPE_CHECKING:
    from cratecli.runs.desk import Desk

LONGEST = 256 << 20  # bytes of a request: a photo of 190 MB in base64


def worker(
    *,
    model: options.Model = None,
    engine: options.Engine = "auto",
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
    from cratecli.runs.desk import Desk
    from cratecli.runs.views import describe
    from cratecli.weights.loading import load

    loaded = load(model, engine=engine, device=device, dtype=dtype)
    desk = Desk(loaded, 1, max_pixels=max_pixels or MAX_PIXELS)
    if not quiet:
        tell(f"{describe(loaded)}: ready")
        desk = replace(desk, note=tell)
    with finishing() as stop:
        for line in _requests(stop):
            put([_answered(line, desk)])
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


def _answered(line: bytes, desk: "Desk") -> str:
    """Answer one request, in JSON; what is wrong with it, or with its photo, is an answer too."""
    from cratecli.tasks.requests import WorkerFailure

    known: dict[str, Any] = {}
    try:
        request = _read(line)
        known = {"id": request["id"]} if "id" in request else {}
        answer = _done(request, desk)
    except CrateError as error:
        answer = WorkerFailure(error=str(error), exit_code=error.exit_code).as_data()
    return json.dumps(known | answer)


def _read(line: bytes) -> dict[str, Any]:
    """Read a request whose id can be given back. Raises `UsageError`."""
    from cratecli.tasks.requests import parse_request

    try:
        if len(line) > LONGEST:
            raise ValueError("too long")
        request = parse_request(line)
        json.dumps(request.get("id"), allow_nan=False)
    except (ValueError, RecursionError):
        raise UsageError("a request is a line of JSON") from None
    return request


def _done(fields: dict[str, Any], desk: "Desk") -> dict[str, Any]:
    from cratecli.io.formats import ending_of
    from cratecli.io.urls import refuse_url
    from cratecli.runs.inputs import STDIN, is_folder
    from cratecli.runs.jobs import Job
    from cratecli.runs.plan import job_of
    from cratecli.runs.planned import Plan
    from cratecli.runs.refusals import refuse_output
    from cratecli.tasks.answers import only, settle
    from cratecli.tasks.requests import read_request

    request = read_request(fields)
    refuse_url(request.output or "", "written")
    if request.image is not None:
        desk = replace(desk, stdin=(request.photo(),))
    target = None if request.output is None else Path(request.output)
    if request.input in (None, STDIN):
        job = Job(None if request.input is None else Path(STDIN), target)
    else:
        job = replace(job_of(request.input), target=target)
    if means_stdout(request.output):
        raise UsageError(
            f"{request.output} takes the answers: a picture goes to a file, or with png into its answer"
        )
    if target is not None and (str(request.output).endswith("/") or is_folder(str(target))):
        raise UsageError(f"{request.output} is a folder: a picture goes to a file")
    if request.png and target is not None and ending_of(target.name) not in (None, "png"):
        raise UsageError(f"png asks for a PNG, and output for {target.suffix}: leave one out")
    asked = settle(request, desk.model)
    if target is not None:
        refuse_output(target, job.source, asked.ending)
    answer = only(asked.answers(Plan((job,)), desk))
    png = {"png": base64.b64encode(answer.picture).decode()} if request.png else {}
    return answer.record.as_data() | png
