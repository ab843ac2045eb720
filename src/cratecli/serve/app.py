"""The routes: the page, the questions, Label Studio's protocol, and whether all is well."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request as Received

from cratecli.errors import CrateError, InputError
from cratecli.explorer.run import choose_explore_recipe
from cratecli.serve import label_studio
from cratecli.serve.body import read_body, read_json, read_question
from cratecli.serve.described import FAILURES, question
from cratecli.serve.guards import Guard, Rules
from cratecli.serve.limits import refuse_work
from cratecli.serve.page import page_of
from cratecli.serve.queue import Photo
from cratecli.serve.refused import RefusedError, failure_of, status_of
from cratecli.serve.service import Service
from cratecli.serve.work import AskedPage
from cratecli.tasks.answers import AskedMask, settle
from cratecli.tasks.options import PictureOptions
from cratecli.tasks.records import ObjectsRecord, SegmentRecord
from cratecli.tasks.requests import Request, read_post
from cratecli.version import __version__

PNG = "image/png"
MORE: dict[int | str, dict[str, Any]] = {
    200: {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}}
}


def make_app(service: Service, rules: Rules) -> Guard:
    """Make the application, guarded; when it ends, the service's queue is closed."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.queue.close)

    app = FastAPI(
        title="crate",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        description=__doc__,
    )
    app.add_exception_handler(CrateError, _failed)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(Exception, _broken)
    _add_questions(app, service)
    _add_label_studio(app, service)
    return Guard(app, rules, service.limits, service.room)


def _add_questions(app: FastAPI, service: Service) -> None:
    page = page_of(service.model)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def look() -> Response:
        return Response(page, media_type="text/html; charset=utf-8")

    @app.head("/health", include_in_schema=False)
    @app.get("/health", summary="Tell whether the model answers, and how much waits.")
    async def health() -> JSONResponse:
        alive, weights = service.queue.alive, service.model.weights
        about = {"status": "UP" if alive else "DOWN", "model": Path(weights.name).name if weights else None}
        busy = {"requests": service.room.requests, "waiting": service.queue.waiting}
        return JSONResponse(about | busy, 200 if alive else 503)

    @app.post(
        "/v1/segment",
        summary="Segment a photo: the mask, or what is at some pixels.",
        response_model=SegmentRecord,
        responses=MORE | FAILURES,
        openapi_extra=question("segment"),
    )
    async def segment(received: Received) -> Response:
        return await _answer(received, "segment", service)

    @app.post(
        "/v1/objects",
        summary="Find the objects of a photo.",
        response_model=ObjectsRecord,
        responses=MORE | FAILURES,
        openapi_extra=question("objects"),
    )
    async def objects(received: Received) -> Response:
        return await _answer(received, "objects", service)

    recipe = choose_explore_recipe(service.model)

    @app.post("/v1/explore", include_in_schema=False)
    async def explore(received: Received) -> Response:
        posted = await read_body(received, "segment")
        if posted.photo is None or posted.fields:
            raise RefusedError(400, "the page sends a photo, and nothing beside")
        shown = await service.ask(received, AskedPage(recipe), Photo(posted.called, posted.photo))
        return Response(shown.text, media_type="application/json")


async def _answer(received: Received, command: str, service: Service) -> Response:
    """Answer a question about a photo: by its record, or by its picture."""
    request, called = await read_question(received, command)
    pictured = _wants_picture(received, request)
    asked = settle(request.model_copy(update={"png": request.png or pictured}), service.model)
    refuse_work(asked)
    answer = await service.ask(received, asked, Photo(called, request.photo()))
    if pictured:
        return Response(answer.picture, media_type=PNG)
    png = {"png": base64.b64encode(answer.picture).decode()} if request.png else {}
    return JSONResponse(answer.record.as_data() | png)


def _wants_picture(received: Received, request: Request) -> bool:
    """Tell whether the answer is a picture: if it is asked for, or one is described and JSON is not asked for."""
    accepted = received.headers.get("accept", "")
    if "application/json" in accepted or request.png:
        return False
    return PNG in accepted or request.as_ is not None or bool(request.of(PictureOptions))


def _add_label_studio(app: FastAPI, service: Service) -> None:
    version = label_studio.version_of(service.model)

    @app.post("/setup", summary="Label Studio connects a project.", responses=FAILURES)
    async def setup(received: Received) -> JSONResponse:
        sent = label_studio.check(label_studio.Setup, read_json(await received.body()))
        label_studio.read_brush(sent.schema_)
        return JSONResponse({"model_version": version})

    @app.post("/predict", summary="Label Studio asks for masks of tasks.", responses=FAILURES)
    async def predict(received: Received) -> JSONResponse:
        sent = label_studio.check(label_studio.Predict, read_json(await received.body()))
        brush = label_studio.read_brush(sent.label_config)
        clicked = label_studio.read_clicks(sent.params.context if sent.params else None)
        options: dict[str, Any] = {}
        if clicked is not None:
            options = {"at": list(clicked.at), "not_at": list(clicked.not_at)}
        asked = settle(read_post("segment", options, b""), service.model)
        refuse_work(asked)
        answers = await _predicted(received, sent.tasks, brush, asked, service)
        results: list[Any] = []
        for answer in answers:
            if isinstance(answer, CrateError):
                if clicked is not None:
                    raise answer
                service.note(f"no prediction: {answer}")
                results.append([])
                continue
            record = answer.record
            if clicked is not None and (record.width, record.height) != (clicked.width, clicked.height):
                seen = f"{clicked.width} × {clicked.height} px were clicked on"
                raise InputError(f"the photo is of {record.width} × {record.height} px, and {seen}")
            label = clicked.label if clicked else None
            results.append(await asyncio.to_thread(label_studio.prediction, record, brush, label, version))
        return JSONResponse({"results": results, "model_version": version})


async def _predicted(
    received: Received,
    tasks: list[label_studio.Task],
    brush: label_studio.Brush,
    asked: AskedMask | Any,
    service: Service,
) -> list[Any]:
    """Ask about the photos of tasks, as many together as the model takes; a photo that is none has its error."""
    answers: list[Any] = []
    some = service.limits.together
    for start in range(0, len(tasks), some):
        found: list[Photo | CrateError] = []
        for task in tasks[start : start + some]:
            try:
                found.append(service.folders.photo(task.data.get(brush.photo)))
            except CrateError as error:
                found.append(error)
        photos = [each for each in found if isinstance(each, Photo)]
        seen = iter(await service.ask_all(received, [(asked, photo) for photo in photos]) if photos else [])
        answers += [next(seen) if isinstance(each, Photo) else each for each in found]
    return answers


async def _failed(_received: Received, error: Exception) -> JSONResponse:
    if not isinstance(error, CrateError):
        raise error
    headers = error.headers if isinstance(error, RefusedError) else None
    return JSONResponse(failure_of(error).as_data(), status_of(error), headers)


async def _not_found(_received: Received, error: Exception) -> JSONResponse:
    """Answer what no route takes, in the words of the other errors."""
    if not isinstance(error, HTTPException):
        raise error
    refusal = RefusedError(error.status_code, str(error.detail).lower())
    return JSONResponse(failure_of(refusal).as_data(), error.status_code, error.headers)


async def _broken(_received: Received, _error: Exception) -> JSONResponse:
    """Answer where the program is wrong; the traceback goes to stderr."""
    refusal = RefusedError(500, "the server failed: its log says why")
    return JSONResponse(failure_of(refusal).as_data(), 500)
