"""The page, and what it asks: the same as `crate explore` writes."""

import json
import re

from starlette.testclient import TestClient

from cratecli.explorer.photo import look_into, segment_recipe
from cratecli.explorer.run import choose_explore_recipe
from cratecli.model.unroll import WhiteBox
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Job
from cratecli.runs.views import Question, views_of
from tests.support.photos import photo


def test_the_page_asks_its_own_server_alone(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', answer.text)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self';" in policy[1]
    assert "unsafe" not in policy[1]
    assert set(re.findall(r"https?://[^\s\"'<]*", answer.text)) == {"http://www.w3.org/2000/svg"}
    assert (answer.headers["x-frame-options"], answer.headers["cache-control"]) == ("DENY", "no-store")


def test_what_the_page_is_told_is_what_explore_writes(
    client: TestClient, model: WhiteBox, sent: bytes
) -> None:
    told = client.post("/v1/explore", files={"image": ("it's.png", sent)}).json()
    recipe = choose_explore_recipe(model)
    asked = segment_recipe(model, recipe)
    rgb = photo(36, 48)
    (views,) = views_of([rgb], model, Question(asked.layers, asked.sizes))
    job = Job(None, None, called="it's.png")
    expected = look_into(DecodedPhoto(job, rgb, ""), views, recipe, Desk(model))
    assert told["data"] == json.loads(expected.model_dump_json())
    assert (told["card"]["name"], told["data"]["photo"]) == ("it's.png", "'it'\"'\"'s.png'")


def test_what_the_page_cannot_show(client: TestClient, sent: bytes) -> None:
    for given, status in (
        ({"files": {"image": ("a.png", b"no photo")}}, 422),
        ({"content": sent, "params": {"sizes": "64"}}, 400),
        ({"json": {"image": ""}}, 400),
    ):
        assert client.post("/v1/explore", **given).status_code == status
