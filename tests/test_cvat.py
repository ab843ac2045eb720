"""CVAT's own command line and SDK ask our function of a task on a local server, and get the masks we make."""

import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cratecli
from cratecli.cvat import Detector, Interactor, create
from cratecli.errors import UsageError
from cratecli.model.unroll import WhiteBox
from cratecli.weights.checkpoint import load_model
from tests.support.cvat import ATTRIBUTE, FUNCTION, LABEL, TASK, Cvat, cvat
from tests.support.photos import photo

pytestmark = pytest.mark.skipif(find_spec("cvat_cli") is None, reason="pip install 'cratecli[cvat]'")

DISC = photo(96, 128)
PERCENT = {"name": "confidence", "input_type": "number", "values": ["0", "100", "1"]}


@pytest.fixture(scope="module")
def model() -> WhiteBox:
    return load_model("crate-nano", device="cpu")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cvat]:
    """Serve a task of two photos, to which a token leads."""
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "secret")
    with cvat() as server:
        grey = np.full((30, 40, 3), 90, np.uint8)
        server.photos = {"disc.png": png(DISC), "sub/one colour.png": png(grey)}
        yield server
        assert server.unknown == []
    logging.getLogger("cvat_cli.__main__").handlers.clear()  # `main` adds one a call


def png(pixels: np.ndarray, **saved: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **saved)
    return stream.getvalue()


def ask(server: Cvat, *arguments: str) -> None:
    """Run `cvat-cli` on the server's task."""
    from cvat_cli.__main__ import main

    function = ["--function-module", "cratecli.cvat"]
    assert main([*server.arguments, "task", "auto-annotate", str(TASK), *function, *arguments]) == 0


def decoded(shape: dict[str, Any], height: int, width: int) -> np.ndarray:
    from cvat_sdk.masks import decode_mask

    return np.asarray(decode_mask(shape["points"], image_width=width, image_height=height))


def test_a_task_gets_the_masks_of_segment(server: Cvat) -> None:
    ask(server)
    (added,) = server.added
    (shape,) = added["shapes"]  # a photo of one colour has none
    expected = cratecli.segment(DISC)
    assert (shape["type"], shape["label_id"], shape["frame"], shape["source"]) == ("mask", LABEL, 0, "auto")
    assert np.array_equal(decoded(shape, *expected.mask.shape), expected.mask)
    assert shape["score"] == pytest.approx(expected.confidence, abs=1e-4)
    assert (added["tags"], server.replaced) == ([], [])


def test_options_are_parameters_named_as_in_python(server: Cvat) -> None:
    server.label, server.attributes = "coin", [PERCENT]
    names = ["label=str:coin", "attribute=str:confidence", "kind=str:objects"]
    options = ["count=int:3", "layers=str:-2,-1", "sizes=int:96", "min_score=float:0", "min_best=float:0"]
    given = [argument for each in (*names, *options) for argument in ("-p", each)]
    ask(server, "--clear-existing", *given)
    expected = cratecli.objects(DISC, count=3, layers=[-2, -1], sizes=[96], min_score=0, min_best=0)
    (replaced,) = server.replaced
    assert len(expected) > 1
    for shape, found in zip(replaced["shapes"], expected, strict=True):
        assert np.array_equal(decoded(shape, *found.mask.shape), found.mask)
        assert shape["score"] == pytest.approx(found.score, abs=1e-4)
        assert shape["attributes"] == [{"spec_id": ATTRIBUTE, "value": str(round(100 * found.score))}]


def test_cvats_threshold_takes_the_place_of_ours(server: Cvat) -> None:
    ask(server, "--conf-threshold", "1")
    ask(server, "--conf-threshold", "0", "-p", "min_confidence=float:1")
    assert [len(added["shapes"]) for added in server.added] == [0, 1]
    server.added.clear()
    for least in ("0.1", "0.99"):
        ask(server, "--conf-threshold", least, "-p", "kind=str:objects", "-p", "min_best=float:0")
    some, none = (added["shapes"] for added in server.added)
    assert len(some) > len(none) == 0


def test_masks_become_polygons(server: Cvat) -> None:
    server.kind = "polygon"
    ask(server, "--conv-mask-to-poly")
    (added,) = server.added
    expected = cratecli.segment(DISC)
    assert {shape["type"] for shape in added["shapes"]} == {"polygon"}
    height, width = expected.mask.shape
    drawn = np.zeros((height, width), bool)
    rows, cols = np.mgrid[:height, :width] + 0.5
    from matplotlib.path import Path as Outline

    for shape in added["shapes"]:
        inside = Outline(np.reshape(shape["points"], (-1, 2))).contains_points(
            np.stack([cols, rows], -1).reshape(-1, 2)
        )
        drawn |= inside.reshape(height, width)
    assert (drawn | expected.mask).sum() == drawn.sum()  # holes are filled, and nothing is lost
    assert (drawn & expected.mask).sum() / drawn.sum() > 0.95


def test_photos_are_upright(server: Cvat) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(photo(96, 64), 1)  # which orientation 6 turns back
    server.photos = {"turned.png": png(np.ascontiguousarray(turned), exif=exif)}
    ask(server, "--conf-threshold", "0")
    (added,) = server.added
    expected = cratecli.segment(photo(96, 64), min_confidence=0)
    assert np.array_equal(decoded(added["shapes"][0], 96, 64), expected.mask)


def test_a_frame_that_cannot_be_segmented_does_not_end_the_task(
    server: Cvat, caplog: pytest.LogCaptureFixture
) -> None:
    long = png(np.zeros((2, 4000, 3), np.uint8))
    server.photos = {"a\x1b[31mlong.png": long, "disc.png": png(DISC)}
    ask(server)
    (added,) = server.added
    assert [shape["frame"] for shape in added["shapes"]] == [1]
    (said,) = [each.getMessage() for each in caplog.records if each.name == "cratecli.cvat"]
    assert said.startswith("$'a\\x1b[31mlong.png': no mask: the image: 4000 × 2 ")


def test_a_label_that_the_task_has_not_is_named(server: Cvat) -> None:
    import cvat_sdk.auto_annotation as cvataa

    server.label = "cat"
    with pytest.raises(cvataa.BadFunctionError, match="label 'object' is not in dataset"):
        ask(server)
    server.label, server.kind = "object", "rectangle"
    with pytest.raises(cvataa.BadFunctionError, match="type 'mask' in the function, but 'rectangle'"):
        ask(server)
    assert server.added == []


@dataclass(frozen=True)
class Prompts:
    """What somebody clicked on, as the SDK's `InteractionPrompts` says it."""

    pos_points: Any = ()
    neg_points: Any = ()
    bounding_box: None = None


def clicked(model: WhiteBox, prompts: Prompts, pixels: np.ndarray, **asked: Any) -> list[Any]:
    function = create(model, kind="clicks", **asked)
    context: Any = None
    seen = function.preprocess_image(context, Image.fromarray(pixels))
    return function.detect(context, seen, prompts)


def test_clicks_are_answered_as_segment_answers_them(model: WhiteBox) -> None:
    pixels = DISC
    (shape,) = clicked(model, Prompts([(51.9, 48.2)], [(120, 4.0)]), pixels, heads="all")
    expected = cratecli.segment(pixels, model, at=[(51, 48)], not_at=[(120, 4)], heads="all")
    assert shape.type == "mask"
    assert np.array_equal(decoded({"points": shape.points}, 96, 128), expected.mask)
    (confidence,) = shape.attributes
    assert confidence.spec_id == 0  # the SDK's number of a confidence
    assert float(confidence.value) == pytest.approx(expected.confidence, abs=1e-4)


def test_a_click_on_the_far_edge_is_on_the_last_pixel(model: WhiteBox) -> None:
    pixels = DISC
    there, edge = (clicked(model, Prompts([place]), pixels) for place in ((127, 95), (128.0, 96.0)))
    assert [each.points for each in there] == [each.points for each in edge]
    assert len(edge) == 1


def test_a_click_on_nothing_gives_nothing(model: WhiteBox) -> None:
    assert clicked(model, Prompts([(5, 5)]), np.full((40, 40, 3), 128, np.uint8)) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "parts"}, "kind is 'parts', not one of segment, objects, clicks"),
        ({"heads": "some"}, "heads 'some' is not auto, agree, all or whole numbers with commas between"),
        ({"layers": "99"}, "layer 99"),
        ({"heads": True}, "heads 'True' is not auto, agree, all or whole numbers"),
        ({"min_confidence": 2.0}, "min_confidence is 2.0, not less than or equal to 1"),
        ({"count": 3}, "unknown parameter 'count'; segment takes range, layers, sizes, heads"),
        ({"kind": "objects", "heads": "all"}, "unknown parameter 'heads'; objects takes"),
        ({"at": "3,4"}, "unknown parameter 'at'"),
        ({"kind": "clicks", "head": "h.safetensors"}, "a mask head takes no clicks"),
        ({"kind": "clicks", "label": "cat"}, "gets the label chosen in CVAT"),
        ({"kind": "clicks", "attribute": "sure"}, "gets the label chosen in CVAT"),
        ({"range": "7"}, "range '7'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    model: WhiteBox, asked: dict[str, Any], message: str
) -> None:
    make: Callable[..., Detector | Interactor] = create
    with pytest.raises(UsageError) as raised:
        make(model, **asked)
    assert message in str(raised.value)


@pytest.mark.slow
def test_an_agent_answers_clicks_in_cvat(server: Cvat, capsys: pytest.CaptureFixture[str]) -> None:
    """The SDK's agent registers the function, starts it in a process of its own, and answers what waits."""
    from cvat_cli.__main__ import main

    function = ["--function-module", "cratecli.cvat", "-p", "kind=str:clicks", "-p", "device=str:cpu"]
    assert main([*server.arguments, "function", "create-native", "crate", *function]) == 0
    assert capsys.readouterr().out == f"{FUNCTION}\n"
    assert server.function["kind"] == "interactor"
    asked = {"type": "interact", "task": TASK, "neg_points": [], "obj_bbox": []}
    for number, (frame, point) in enumerate([(0, [51.5, 48]), (0, [120, 4]), (1, [5, 5])]):
        params = {**asked, "frame": frame, "pos_points": [point]}
        server.prompts.append({"ar_id": f"r{number}", "ar_params": params})
    assert main([*server.arguments, "function", "run-agent", str(FUNCTION), *function, "--burst"]) == 0
    assert server.failed == []
    first, second, nothing = (each["shapes"] for each in server.answered)
    for (shape,), at in ((first, (51, 48)), (second, (120, 4))):
        expected = cratecli.segment(DISC, at=[at], sizes=[64, 96, 192])
        assert np.array_equal(decoded(shape, *expected.mask.shape), expected.mask)
        confidence = {"spec_id": 0, "value": f"{expected.confidence:.4f}"}
        assert shape["attributes"] == [confidence]
    assert nothing == []
