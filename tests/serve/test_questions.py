"""`/v1/segment` and `/v1/objects` as programs ask them: the worker's answers, by another way."""

import asyncio
import io
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import cratecli
from cratecli.cli.commands.worker import _answered
from cratecli.errors import CrateError
from cratecli.io.formats.record import decode_rle
from cratecli.model.unroll import WhiteBox
from cratecli.runs.desk import Desk
from cratecli.serve.guards import Guard
from cratecli.serve.limits import Limits
from cratecli.serve.queue import Photo
from cratecli.serve.work import Answerer
from cratecli.tasks.requests import WorkerFailure
from tests.serve.conftest import QUICK, Serve
from tests.support.broken import bombs, png
from tests.support.photos import photo
from tests.support.waiting import PATIENCE

SEGMENT, OBJECTS = "/v1/segment", "/v1/objects"


def pixels(content: bytes) -> Any:
    image = Image.open(io.BytesIO(content))
    image.load()
    return np.asarray(image)


def test_a_mask_is_pythons(client: TestClient, model: WhiteBox, sent: bytes) -> None:
    expected = cratecli.segment(photo(36, 48), model)
    answer = client.post(SEGMENT, content=sent)
    record = answer.json()
    np.testing.assert_array_equal(decode_rle(record["rle"]), expected.mask)
    assert (record["input"], record["output"], record["confidence"]) == (
        "photo",
        None,
        round(expected.confidence, 4),
    )
    drawn = client.post(SEGMENT, content=sent, headers={"accept": "image/png"})
    assert drawn.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(pixels(drawn.content) > 0, expected.mask)


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "defaults": ("segment", {}),
    "every kind of value": (
        "segment",
        {"sizes": [64], "refine": "none", "layers": [-2, -1], "heads": [0, 2], "keep": "mass:0.5"}
        | {"min_area": 0.01, "largest": True, "fill_holes": False, "range": "full"},
    ),
    "words": ("segment", {"layers": "all", "sizes": [64], "heads": "agree", "keep": "0.5", "frame": True}),
    "a click": ("segment", {"sizes": [64], "refine": "none", "at": [[9, 8], [10, 9]], "not_at": [[40, 30]]}),
    "objects": ("objects", {"sizes": [64], "min_best": 0, "min_score": 0, "count": 2, "refine": "none"}),
    "MaskCut": ("objects", {"by": "maskcut", "layers": [-2], "sizes": [64], "tau": 0, "count": 1}),
    "a picture beside": (
        "segment",
        {"sizes": [64], "refine": "none", "png": True, "as": "soft", "rle": False},
    ),
    "another option": ("segment", {"sise": [64]}),
    "an option of the other question": ("objects", {"at": [[1, 2]]}),
    "a value that is none": ("segment", {"sizes": "x"}),
    "a value out of its range": ("segment", {"min_area": 2}),
    "outside": ("segment", {"sizes": [64], "at": [[48, 8]]}),
    "half a pixel": ("segment", {"at": [[9]]}),
    "a click and not": ("segment", {"not_at": [[9, 8]]}),
    "MaskCut at two sizes": ("objects", {"by": "maskcut", "sizes": [32, 64]}),
    "a layer too many": ("segment", {"layers": [8]}),
}


ALL_WAYS = ("every kind of value", "MaskCut", "a value out of its range")


@pytest.mark.parametrize(
    ("name", "way"),
    [
        *((name, "address") for name in REQUESTS),
        *((name, way) for name in ALL_WAYS for way in ("form", "json")),
    ],
)
def test_the_worker_says_the_same(
    client: TestClient, model: WhiteBox, sent: bytes, name: str, way: str
) -> None:
    command, options = REQUESTS[name]
    line = json.dumps({"command": command, "image": b64encode(sent).decode()} | options)
    worker = json.loads(_answered(line.encode(), Desk(model, 1)))
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}
    path = f"/v1/{command}"
    match way:
        case "address":
            answer = client.post(path, content=sent, params=texts)
        case "form":
            answer = client.post(path, files={"image": ("standard input", sent)}, data=texts)
        case _:
            answer = client.post(path, json={"image": b64encode(sent).decode()} | options)
    served = answer.json()
    for each in (worker, served):
        each.pop("png", None)  # which say how they were made
    if "error" in worker:
        assert answer.status_code == 422
        if "takes" in worker["error"]:  # the worker knows more fields
            assert served["error"].partition(";")[0] == worker["error"].partition(";")[0]
            return
    else:
        assert answer.status_code == 200
        served["input"] = worker["input"]
    assert served == worker


@pytest.mark.parametrize(
    ("texts", "meant"),
    [
        ({"sizes": "32,64", "layers": "-2,-1"}, {"sizes": [32, 64], "layers": [-2, -1]}),
        ({"sizes": "64", "at": ["9,8", "10,9"]}, {"sizes": [64], "at": [[9, 8], [10, 9]]}),
        ({"sizes": "64", "at": "[[9,8],[10,9]]"}, {"sizes": [64], "at": [[9, 8], [10, 9]]}),
        ({"sizes": "64", "heads": "1", "keep": "0.5"}, {"sizes": [64], "heads": [1], "keep": "0.5"}),
    ],
)
def test_short_ways_to_write_lists(
    client: TestClient, sent: bytes, texts: dict[str, Any], meant: dict[str, Any]
) -> None:
    image = {"image": b64encode(sent).decode()}
    short = client.post(SEGMENT, content=sent, params=texts | {"refine": "none"})
    assert short.status_code == 200, short.text
    assert short.json() == client.post(SEGMENT, json=image | meant | {"refine": "none"}).json()


@pytest.mark.parametrize("path", [SEGMENT, OBJECTS])
def test_what_is_in_doubt_is_told_with_the_answer(client: TestClient, sent: bytes, path: str) -> None:
    """Twelve bits in sixteen, and the second image of a file, are notes; other photos have none."""
    deep = np.asarray(Image.fromarray(photo(36, 48)).convert("L")).astype(np.uint16) * 16
    assert client.post(path, content=sent, params=QUICK).json()["notes"] == []
    stored, pages = io.BytesIO(), io.BytesIO()
    Image.fromarray(deep).save(stored, "PNG")
    (note,) = client.post(path, files={"image": ("deep.png", stored.getvalue())}, data=QUICK).json()["notes"]
    assert note.startswith("deep.png: ")
    assert "range" in note
    Image.fromarray(photo(36, 48)).save(
        pages, "TIFF", save_all=True, append_images=[Image.fromarray(photo(36, 48, 1))]
    )
    (note,) = client.post(path, content=pages.getvalue(), params=QUICK).json()["notes"]
    assert "2 images" in note or "2 pages" in note or "first" in note, note


def test_pictures(client: TestClient, sent: bytes) -> None:
    """Whoever says what is drawn gets it; whoever asks for JSON gets that."""
    drawn = client.post(SEGMENT, content=sent, params=QUICK | {"as": "cutout"})
    assert (drawn.headers["content-type"], pixels(drawn.content).shape) == ("image/png", (36, 48, 4))
    on_white = client.post(SEGMENT, content=sent, params=QUICK | {"background": "white", "crop": "true"})
    assert pixels(on_white.content).shape[2] == 3
    told = client.post(
        SEGMENT,
        content=sent,
        params=QUICK | {"as": "soft", "png": "true"},
        headers={"accept": "application/json"},
    )
    assert pixels(b64decode(told.json()["png"])).shape == (36, 48)
    labels = client.post(OBJECTS, content=sent, params={"as": "labels", "sizes": "64", "refine": "none"})
    assert pixels(labels.content).shape == (36, 48)
    plain = client.post(
        SEGMENT, content=sent, params=QUICK, headers={"accept": "application/json, image/png"}
    )
    assert "png" not in plain.json()


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing": ({"content": b""}, 422, "the body is empty"),
    "text": ({"content": b"hello"}, 422, "photo: not an image of a known format"),
    "another kind of body": (
        {"content": b"<p>", "headers": {"content-type": "text/html"}},
        415,
        "text/html: a body is",
    ),
    "no JSON": ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "a request is JSON"),
    "deep JSON": (
        {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
        422,
        "a request is JSON",
    ),
    "JSON of many values": (
        {"content": b"[" + b"1," * 1_000_001, "headers": {"content-type": "application/json"}},
        413,
        "the JSON has more than 1,000,000 values",
    ),
    "a list": ({"json": []}, 422, "a request is a JSON object"),
    "JSON without a photo": ({"json": {}}, 422, "a request has one photo"),
    "no base64": ({"json": {"image": "é"}}, 422, "image is not base64"),
    "a field twice in JSON": (
        {"content": b'{"image": "", "image": ""}', "headers": {"content-type": "application/json"}},
        422,
        "names each field once",
    ),
    "a field here and there": (
        {"json": {"image": "", "sizes": [64]}, "params": {"sizes": "64"}},
        422,
        "sizes stands",
    ),
    "a field twice": ({"content": b"x", "params": {"sizes": ["64", "32"]}}, 422, "sizes stands 2 times"),
    "a path to read": ({"content": b"x", "params": {"input": "/etc/passwd"}}, 422, "unknown field 'input'"),
    "a path to write": ({"content": b"x", "params": {"output": "/tmp/x.png"}}, 422, "unknown field 'output'"),
    "a head": ({"content": b"x", "params": {"head": "/etc/passwd"}}, 422, "head names a file, and a server"),
    "a background": ({"content": b"x", "params": {"background": "/etc/passwd"}}, 422, "not a colour"),
    "matting": ({"content": b"x", "params": {"matting": "true"}}, 422, "matting may take minutes"),
    "a large size": (
        {"content": b"x", "params": {"sizes": "1024"}},
        422,
        "sizes has 1024, and a server takes",
    ),
    "many sizes": ({"content": b"x", "params": {"sizes": ",".join(["64"] * 99)}}, 422, "sizes are 99"),
    "many clicks": ({"content": b"x", "params": {"at": ["1,2"] * 99}}, 422, "at and not_at are 99 pixels"),
    "a form without a boundary": (
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        400,
        "the form is broken",
    ),
    "a broken form": (
        {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        400,
        "the form is broken",
    ),
    "a form that ends early": (
        {"content": b"--b\r\nx", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        422,
        "a form has one file",
    ),
    "a form of two files": ({"files": [("image", b"x"), ("image", b"y")]}, 400, "the form is broken"),
    "a form with an empty file": ({"files": {"image": ("a.png", b"")}}, 422, "a.png: empty"),
    "a form with another file": ({"files": {"photo": b"x"}}, 422, "a form has one file, image"),
    "a form of text": ({"data": {"image": "x"}, "files": {}}, 422, "photo: not an image"),
    "a form of many fields": (
        {"files": {"image": b"x"}, "data": {f"f{number}": "x" for number in range(99)}},
        400,
        "the form is broken",
    ),
    "a bomb": ({"content": bombs()["side.png"]}, 422, "more than 50,000,000 pixels"),
    "a line": ({"content": png((20_000, 2, 8, 2), b"")}, 422, "too long and thin"),
}


@pytest.mark.parametrize(("given", "status", "reason"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_one_line(
    client: TestClient, given: dict[str, Any], status: int, reason: str
) -> None:
    answer = client.post(SEGMENT, **given)
    assert answer.status_code == status, answer.text
    failure = WorkerFailure.model_validate(answer.json())
    assert reason in failure.error
    assert "\n" not in failure.error


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
        ("new\x1b[31mline.png", "new[31mline.png"),
        ("x" * 2000, "x" * 255),
        ("..", "photo"),
    ],
)
def test_a_name_is_text_and_never_a_path(client: TestClient, sent: bytes, name: str, called: str) -> None:
    answer = client.post(SEGMENT, files={"image": (name, sent)}, data=QUICK)
    assert answer.json()["input"] == called
    broken = client.post(SEGMENT, files={"image": (name, b"no photo")}, data=QUICK)
    assert broken.json()["error"].startswith(f"{called}: ")


def test_what_no_route_takes(client: TestClient) -> None:
    assert client.get("/nothing").json() == {"error": "not found", "exit_code": 2}
    assert client.get(SEGMENT).status_code == 405
    assert client.get("/docs").status_code == 404  # which would load scripts from elsewhere


def test_a_head_is_asked_for_by_a_word(client: TestClient, sent: bytes) -> None:
    """The built-in one, or none: neither is a file."""
    asked = {"sizes": "64,96,192", "refine": "none"}
    answers = [
        client.post(SEGMENT, content=sent, params=asked | {"head": word}).json()
        for word in ("auto", "built-in", "none")
    ]
    assert [each.get("head") for each in answers] == ["built-in", "built-in", None]


def test_openapi_says_what_can_be_asked(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    for command, record in (("segment", "SegmentRecord"), ("objects", "ObjectsRecord")):
        post = described["paths"][f"/v1/{command}"]["post"]
        options = {each["name"]: each for each in post["parameters"]}
        assert {"sizes", "layers", "refine", "as", "png"} <= options.keys()
        assert not {"head", "matting", "input", "output", "image"} & options.keys()
        assert all(each["description"] for each in options.values())
        assert options["refine"]["schema"]["enum"] == ["none", "guided", "grabcut"]
        assert {"image/*", "multipart/form-data", "application/json"} == post["requestBody"]["content"].keys()
        answer = post["responses"]["200"]["content"]
        assert answer["application/json"]["schema"]["$ref"].endswith(record)
        assert "image/png" in answer
        assert post["responses"]["503"]["content"]["application/json"]["schema"]["$ref"].endswith(
            "WorkerFailure"
        )
    assert {"confidence", "rle"} <= described["components"]["schemas"]["SegmentRecord"]["properties"].keys()


def test_health(client: TestClient) -> None:
    told = {"status": "UP", "model": "crate-nano", "requests": 0, "waiting": 0}
    assert client.get("/health").json() == told
    assert client.head("/health").status_code == client.head("/").status_code == 200


# The model's thread.


class Held:
    """Holds the model back until it may answer, and remembers how many photos went together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may, self.together = Event(), Event(), list[int]()
        answer = Answerer.answer

        def held(this: Answerer, question: Any, photos: Sequence[Photo]) -> Iterator[tuple[int, Any]]:
            self.together.append(len(photos))
            self.begun.set()
            assert self.may.wait(PATIENCE)
            return answer(this, question, photos)

        monkeypatch.setattr(Answerer, "answer", held)


def test_out_of_time(serve: Serve, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    client = serve(Limits(seconds=0.01))
    answer = client.post(SEGMENT, content=sent, params=QUICK)
    assert (answer.status_code, answer.json()["exit_code"]) == (504, 1)
    assert "no answer within 0.01 seconds" in answer.json()["error"]
    held.may.set()


def test_what_nobody_waits_for_is_taken_back(
    serve: Serve, sent: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves while others are answered: the model never sees its photo, and no line is logged."""
    held = Held(monkeypatch)
    client = serve()

    async def ask(app: Guard) -> None:
        begun, gone = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not begun.is_set():
                begun.set()
                return {"type": "http.request", "body": sent}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            statuses.append(message.get("status"))

        scope = {"type": "http", "method": "POST", "path": SEGMENT, "query_string": b"sizes=64"}
        asking = asyncio.create_task(app({**scope, "headers": [(b"host", b"localhost")]}, receive, send))  # type: ignore[arg-type]
        while client.get("/health").json()["waiting"] < 1:
            await asyncio.sleep(0)
        gone.set()
        await asking

    statuses: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, SEGMENT, content=sent, params=QUICK)
        assert held.begun.wait(PATIENCE)
        assert isinstance(client.app, Guard)
        asyncio.run(ask(client.app))
        held.may.set()
        assert first.result().status_code == 200
    assert client.post(SEGMENT, content=sent, params=QUICK).status_code == 200
    assert (statuses[0], held.together, caplog.text) == (499, [1, 1], "")


def test_photos_of_several_clients_go_together(
    serve: Serve, sent: bytes, monkeypatch: pytest.MonkeyPatch, model: WhiteBox
) -> None:
    """Those that ask the same; a bad one fails alone, and each answer is that of the photo by itself."""
    held = Held(monkeypatch)
    client = serve(Limits(together=3))
    asking: dict[str, Any] = {"params": QUICK | {"heads": "all"}}
    clicks: dict[str, Any] = {"params": QUICK | {"at": "9,8"}}
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(client.post, SEGMENT, content=sent, **asking)
        assert held.begun.wait(PATIENCE)
        some = [pool.submit(client.post, SEGMENT, content=each, **asking) for each in (sent, b"bad", sent)]
        clicked = [pool.submit(client.post, SEGMENT, content=sent, **clicks) for _ in range(2)]
        while client.get("/health").json()["waiting"] < 5:
            pass
        held.may.set()
        answers = [each.result() for each in (first, *some, *clicked)]
    assert [each.status_code for each in answers] == [200, 200, 422, 200, 200, 200]
    assert answers[0].json() == answers[1].json() == answers[3].json()
    assert sorted(held.together) == [1, 1, 1, 3]


def test_a_bug_is_one_answer_and_not_the_end(
    serve: Serve, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(raise_server_exceptions=False)
    with monkeypatch.context() as patch:
        patch.setattr(Answerer, "answer", lambda *_: 1 / 0)
        answer = client.post(SEGMENT, content=sent, params=QUICK)
    assert (answer.status_code, answer.json()["exit_code"]) == (500, 1)
    assert "ZeroDivision" not in answer.text
    assert client.post(SEGMENT, content=sent, params=QUICK).status_code == 200


def test_pixels_are_limited(serve: Serve, sent: bytes) -> None:
    answer = serve(replace(Limits(), pixels=48 * 36 - 1)).post(SEGMENT, content=sent)
    assert (answer.status_code, "more than 1,727 pixels" in answer.text) == (422, True)


def test_every_error_has_a_status() -> None:
    from cratecli.serve.refused import status_of

    kinds = [kind for kind in CrateError.__subclasses__() if kind.__module__ == "cratecli.errors"]
    assert {kind.__name__: status_of(kind("x")) for kind in kinds} == {
        "InputError": 422,
        "UsageError": 422,
        "OutputError": 500,
        "NothingMatchedError": 500,
        "WeightsError": 500,
        "DeviceError": 500,
    }
