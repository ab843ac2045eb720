"""Several objects a photo, or none: on a model that sees nothing but colour, so that the answer is known."""

import io
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor, nn

import cratecli
from cratecli.emergence.masks import iou
from cratecli.errors import InputError, UsageError
from cratecli.geometry import Box
from cratecli.io.formats.indexed import tint, voc_palette
from cratecli.io.images import PhotoLike
from cratecli.model.blocks import Projection
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.unroll import LayerState, WhiteBox, patch_grid
from cratecli.model.vit import UnrolledViT
from cratecli.runs.cache import FeatureCache
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.planned import Plan
from cratecli.tasks import objects as task
from cratecli.tasks.object_recipes import choose_object_recipe
from cratecli.tasks.objects import Object, ObjectsPhoto, Picture, objects_batch, objects_run
from tests.support.models import tiny_vit
from tests.support.photos import photo

# pycocotools' own decoder, not ours, speaks NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Painter(WhiteBox):
    """Sees a patch of 8 px as its mean colour, in each of three layers, and attends to what is not blue."""

    def __init__(self) -> None:
        """Make one that was, it says, trained on 64 px."""
        black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        super().__init__(depth=3, heads=1, patch_size=8, image_size=64, mean=black, std=white)
        self.nothing = nn.Parameter(torch.zeros(1))
        self.shown = 0

    def unroll(self, images: Float[Tensor, "b 3 h w"]) -> Iterator[LayerState]:
        """Hand the colours on from layer to layer."""
        self.shown += len(images)
        grid = patch_grid(images, self.patch_size)
        colours = nn.functional.avg_pool2d(images, self.patch_size).flatten(2).mT
        class_token = torch.tensor([2.0, 2.0, -2.0]).expand(len(images), 1, 3)
        tokens = torch.cat([class_token, colours], dim=1)
        for layer in range(self.depth):
            yield LayerState(layer, tokens, grid, project=lambda z: Projection(*[z[:, None]] * 3))
        yield LayerState(self.depth, tokens, grid)


def paint(*shapes: tuple[Box, tuple[int, int, int]], height: int = 64, width: int = 96) -> np.ndarray:
    """Paint boxes on a blue ground."""
    rgb = np.full((height, width, 3), BLUE, np.uint8)
    for box, colour in shapes:
        rgb[box.top : box.bottom, box.left : box.right] = colour
    return rgb


LARGE, SMALL = Box(8, 8, 32, 40), Box(40, 56, 56, 88)
TWO = paint((LARGE, RED), (SMALL, GREEN))
TURNED = np.ascontiguousarray(TWO.transpose(1, 0, 2))
PLAIN = paint()


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter()


@pytest.fixture(scope="module")
def nano() -> WhiteBox:
    """Load the built-in model."""
    return cratecli.load_model("crate-nano", device="cpu")


def find(rgb: np.ndarray, model: WhiteBox, **options: Any) -> list[Object]:
    plain: dict[str, Any] = {"by": "maskcut", "sizes": [64], "min_score": 0.0, "refine": "none"}
    return cratecli.objects(rgb, model, **(plain | options))


@pytest.mark.parametrize("colours", [(RED, GREEN), (RED, RED), (GREEN, RED)])
@pytest.mark.parametrize("tau", [0.0, 0.15, 0.9])
def test_two_boxes_are_two_objects(painter: Painter, colours: Any, tau: float) -> None:
    """Apart from each other they are two even where their colour is one."""
    rgb = paint((LARGE, colours[0]), (SMALL, colours[1]))
    found = find(rgb, painter, tau=tau)
    assert sorted((each.box for each in found), key=lambda box: box.top) == [LARGE, SMALL]
    for each in found:
        truth = np.zeros(rgb.shape[:2], bool)
        truth[each.box.top : each.box.bottom, each.box.left : each.box.right] = True
        assert iou(each.mask, truth) > 0.95  # a corner of patches is rounded off
        assert each.area == each.mask.sum()
        assert 0.3 < each.score < 1
    assert not (found[0].mask & found[1].mask).any()


def test_rows_are_rows(painter: Painter) -> None:
    found, turned = find(TWO, painter), find(TURNED, painter)
    assert {each.box.xywh for each in turned} == {(8, 8, 24, 32), (40, 56, 16, 32)}
    for one, other in zip(found, turned, strict=True):
        np.testing.assert_array_equal(one.mask.T, other.mask)


def test_three_layers_and_a_photo_of_another_size(painter: Painter) -> None:
    """Boxes are in the photo's pixels, whatever the model was shown."""
    large = TWO.repeat(3, axis=0).repeat(3, axis=1)
    found = find(large, painter, layers=[0, 1, -1])
    assert {each.box.xywh for each in found} == {(24, 24, 96, 72), (168, 120, 96, 48)}
    assert found[0].mask.shape == (192, 288)


def test_alike_is_what_exceeds_tau(painter: Painter) -> None:
    """The ground and this box have a cosine of 0.8: they are one where τ is less."""
    rgb = paint((LARGE, (153, 0, 204)))
    assert [each.box for each in find(rgb, painter, tau=0.85)] == [LARGE]
    assert [each.box for each in find(rgb, painter, tau=0.75)] == [Box(0, 0, 64, 96)]


def test_scores_decide_and_count_limits(painter: Painter) -> None:
    three = paint((LARGE, RED), (SMALL, GREEN), (Box(8, 64, 24, 88), (255, 255, 0)))
    found = find(three, painter, tau=0.9, count=5)
    assert len(found) == 3
    scores = [each.score for each in found]
    for count in (1, 2, 3):
        assert [each.box for each in find(three, painter, tau=0.9, count=count)] == [
            each.box for each in found[:count]
        ]
    for least in (*scores, 0.5, 1.0):
        kept = find(three, painter, tau=0.9, count=5, min_score=least)
        assert [each.box for each in kept] == [each.box for each in found if each.score >= least]
    assert find(three, painter, min_score=1.0) == []


@pytest.mark.parametrize("refine", ["none", "guided", "grabcut"])
@pytest.mark.parametrize("colour", [(0, 0, 0), BLUE, (255, 255, 255)])
@pytest.mark.parametrize("size", [(64, 96), (1, 1), (1, 20), (20, 1)])
def test_a_plain_photo_has_no_object(
    painter: Painter, refine: Any, colour: tuple[int, int, int], size: tuple[int, int]
) -> None:
    rgb = np.full((*size, 3), colour, np.uint8)
    assert cratecli.objects(rgb, painter, by="maskcut", sizes=[64], refine=refine) == []
    assert all(each.score == 0 for each in find(rgb, painter, refine=refine))


@pytest.mark.parametrize("model", ["nano", "vit", "crate"])
@pytest.mark.parametrize("size", [(1, 1), (1, 20), (5, 7), (40, 50)])
def test_real_models_give_valid_objects(nano: WhiteBox, model: str, size: tuple[int, int]) -> None:
    config = CrateConfig(patch_size=8, width=12, heads=3, depth=2, image_size=32, classes=0)
    ready = {"nano": nano, "vit": UnrolledViT(tiny_vit()), "crate": Crate(config).eval()}[model]
    for rgb in (photo(*size), np.zeros((*size, 3), np.uint8)):
        found = find(rgb, ready, sizes=[32], layers=[-2, -1], count=5)
        assert len(found) <= 5
        assert all(each.mask.shape == size and each.area > 0 and 0 <= each.score <= 1 for each in found)
        assert (np.sum([each.mask for each in found], axis=0) <= 1).all()


@pytest.mark.usefixtures("shipped_sizes")
def test_two_discs_before_the_built_in_model(nano: WhiteBox) -> None:
    rows, cols = np.mgrid[:96, :144]
    discs = [(rows - 48) ** 2 + (cols - centre) ** 2 <= 20**2 for centre in (32, 110)]
    flat = np.where((discs[0] | discs[1])[..., None], (220, 60, 40), 30)
    rgb = (flat + np.random.default_rng(0).normal(0, 4, flat.shape)).clip(0, 255).astype(np.uint8)
    found = cratecli.objects(rgb, nano, by="maskcut", refine="none")
    assert len(found) == 2
    for disc in discs:
        assert max(iou(each.mask, disc) for each in found) > 0.7
    assert not (found[0].mask & found[1].mask).any()


@pytest.mark.usefixtures("shipped_sizes")
def test_grain_has_no_object(nano: WhiteBox) -> None:
    grain = np.random.default_rng(0).normal(128, 5, (96, 144, 3)).clip(0, 255).astype(np.uint8)
    assert cratecli.objects(grain, nano, by="maskcut", min_score=0) == []


def test_by_candidates_two_discs_are_two_objects(nano: WhiteBox) -> None:
    rows, cols = np.mgrid[:96, :144]
    discs = [(rows - 48) ** 2 + (cols - centre) ** 2 <= 20**2 for centre in (32, 110)]
    flat = np.where((discs[0] | discs[1])[..., None], (220, 60, 40), 30)
    rgb = (flat + np.random.default_rng(0).normal(0, 4, flat.shape)).clip(0, 255).astype(np.uint8)
    found = cratecli.objects(rgb, nano)
    assert len(found) >= 2
    for disc in discs:
        assert max(iou(each.mask, disc) for each in found[:2]) > 0.8
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert found[0].score > 0.4


def test_by_candidates_scores_decide(nano: WhiteBox) -> None:
    """The best decides whether there is anything at all, each by itself whether it is one of them."""
    rgb = photo(60, 80)
    every = cratecli.objects(rgb, nano, min_score=0.0, min_best=0.0, refine="none")
    assert len(every) > 2
    scores = [each.score for each in every]
    for least in (scores[0], scores[1]):
        found = cratecli.objects(rgb, nano, min_score=least, min_best=0.0, refine="none")
        assert [each.score for each in found] == [score for score in scores if score >= least]
    above, below = np.nextafter(scores[0], 1), scores[0]
    assert cratecli.objects(rgb, nano, min_score=0.0, min_best=float(above), refine="none") == []
    kept = cratecli.objects(rgb, nano, min_score=0.0, min_best=below, refine="none")
    assert [each.score for each in kept] == scores
    two = cratecli.objects(rgb, nano, min_score=0.0, min_best=0.0, count=2, refine="none")
    assert [each.score for each in two] == scores[:2]


@pytest.mark.parametrize("model", ["nano", "vit", "crate"])
@pytest.mark.parametrize("size", [(1, 1), (1, 20), (40, 50)])
def test_by_candidates_real_models_give_valid_objects(
    nano: WhiteBox, model: str, size: tuple[int, int]
) -> None:
    config = CrateConfig(patch_size=8, width=12, heads=3, depth=2, image_size=32, classes=0)
    ready = {"nano": nano, "vit": UnrolledViT(tiny_vit()), "crate": Crate(config).eval()}[model]
    for rgb in (photo(*size), np.zeros((*size, 3), np.uint8)):
        found, again = (find(rgb, ready, by="candidates", sizes=[32, 48], min_best=0.0) for _ in range(2))
        assert len(found) <= 10
        assert all(each.mask.shape == size and each.area > 0 and 0 <= each.score <= 1 for each in found)
        assert (np.sum([each.mask for each in found], axis=0) <= 1).all()
        for one, other in zip(found, again, strict=True):
            assert one.score == other.score
            np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.parametrize("refine", ["none", "guided", "grabcut"])
def test_refining_leaves_two_of_a_colour_apart(painter: Painter, refine: Any) -> None:
    rgb = paint((LARGE, RED), (SMALL, RED))
    rgb = (rgb + np.random.default_rng(0).integers(-9, 10, rgb.shape)).clip(0, 255).astype(np.uint8)
    assert len(find(rgb, painter, refine=refine)) == 2


@pytest.mark.parametrize("refine", ["guided", "grabcut"])
def test_refining_follows_the_photo(painter: Painter, refine: Any) -> None:
    """Edges that lie between patches are found by the photo."""
    box = Box(12, 20, 44, 68)
    rgb = paint((box, RED))
    rgb = (rgb + np.random.default_rng(0).integers(-9, 10, rgb.shape)).clip(0, 255).astype(np.uint8)
    truth = np.zeros(rgb.shape[:2], bool)
    truth[box.top : box.bottom, box.left : box.right] = True
    coarse, fine = (find(rgb, painter, refine=way, count=1)[0].mask for way in ("none", refine))
    assert iou(fine, truth) > max(iou(coarse, truth), 0.9)


def test_neighbours_share_no_pixel(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two masks of patches meet, the earlier keeps the pixels both would have; an empty one is passed over."""
    left, right, none = (np.zeros((8, 12), bool) for _ in range(3))
    left[2:6, 2:6] = right[2:6, 6:9] = True
    scores = {bytes(left): 0.4, bytes(right): 0.9}
    monkeypatch.setattr(task, "objectness", lambda mask, *_: scores[bytes(mask)])
    for first, second in ((left, right), (right, left)):
        monkeypatch.setattr(task, "maskcut", lambda *_, _m=(first, none, second), **__: list(_m))
        found = find(TWO, painter)
        assert [each.score for each in found] == [scores[bytes(first)], scores[bytes(second)]]
        assert not (found[0].mask & found[1].mask).any()
        assert (found[0].mask | found[1].mask)[20:44, 20:68].all()
        (alone,) = find(TWO, painter, min_score=0.5)
        assert alone.score == 0.9
        assert alone.area >= max(each.area for each in found if each.score == 0.9)


def test_the_photos_of_a_batch_are_found_as_if_alone(painter: Painter, tmp_path: Path) -> None:
    photos = [TWO, TURNED, PLAIN, paint((SMALL, RED))]
    recipe = choose_object_recipe(painter, by="maskcut", sizes=[64], min_score=0.3)
    painter.shown = 0
    together = objects_batch(photos, painter, recipe, FeatureCache(tmp_path, painter))
    again = objects_batch(photos, painter, recipe, FeatureCache(tmp_path, painter))
    assert painter.shown == 4
    assert [len(found) for found in together] == [2, 2, 0, 1]
    for rgb, found, kept in zip(photos, together, again, strict=True):
        alone = objects_batch([rgb], painter, recipe)[0]
        for one, other, third in zip(found, alone, kept, strict=True):
            np.testing.assert_array_equal(one.mask, other.mask)
            np.testing.assert_array_equal(one.mask, third.mask)
            assert one.score == pytest.approx(other.score) == pytest.approx(third.score)
    assert objects_batch([], painter, recipe) == []


def test_the_record() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = True
    mask[1, 2] = False
    found = Object(mask, 0.5)
    assert (found.area, found.box) == (7, Box(1, 2, 3, 6))
    with pytest.raises(FrozenInstanceError):
        found.score = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="at least one pixel"):
        _ = Object(np.zeros((5, 7), bool), 0.5).box


# What is chosen.


def test_the_papers_recipe_for_models_of_its_size() -> None:
    config = CrateConfig(patch_size=16, width=12, heads=3, depth=4, image_size=224, classes=0)
    paper = {"sizes": (480,), "tau": 0.15, "count": 3, "refine": "none"}
    for model, layer in ((Crate(config), -2), (UnrolledViT(tiny_vit()), -1)):
        recipe = choose_object_recipe(model, by="maskcut")
        assert recipe.layers == recipe.attention == (model.depth + layer,)
        assert {name: getattr(recipe, name) for name in paper} == paper


def test_what_was_asked_for_stands_instead(nano: WhiteBox) -> None:
    default = choose_object_recipe(nano, by="maskcut")
    assert all(0 <= layer < 8 for layer in (*default.layers, *default.attention))
    assert len(default.sizes) == 1
    recipe = choose_object_recipe(
        nano, by="maskcut", layers=[-1, 0], sizes=[50], count=7, tau=-0.5, min_score=0.0, refine="guided"
    )
    asked: dict[str, Any] = {"layers": (7, 0), "sizes": (50,), "tau": -0.5, "count": 7}
    assert recipe == replace(default, **asked, min_score=0.0, refine="guided")
    assert (
        str(recipe)
        == "layers 7,0, sizes 50, by maskcut, n 7, tau -0.5, min-score 0, min-best 0, refine guided"
    )
    assert choose_object_recipe(nano, by="maskcut", tau=0.0).tau == 0.0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"layers": [3]}, "layer 3 of a model with 3 layers, 0 to 2"),
        ({"layers": []}, "layers is empty: at least one"),
        ({"sizes": [0]}, "sizes is 0, not greater than or equal to 1"),
        ({"sizes": [1537]}, "sizes is 1537, not less than or equal to 1536"),
        ({"count": 0}, "count is 0, not greater than or equal to 1"),
        ({"count": 101}, "count is 101, not less than or equal to 100"),
        ({"tau": 1.5}, "tau is 1.5, not less than or equal to 1"),
        ({"tau": float("nan")}, "tau is nan, not"),
        ({"by": "magic"}, "by is 'magic', not 'candidates' or 'maskcut'"),
        ({"tau": 0.2}, "only by maskcut is there a tau"),
        ({"by": "maskcut", "sizes": [64, 96]}, r"sizes are \[64, 96\], but MaskCut looks at one"),
        ({"min_best": 1.5}, "min_best is 1.5, not less than or equal to 1"),
        ({"min_score": -0.1}, "min_score is -0.1, not greater than or equal to 0"),
        ({"min_score": float("nan")}, "min_score is nan, not"),
        ({"refine": "edges"}, "refine is 'edges', not 'none', 'guided' or 'grabcut'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    painter: Painter, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        cratecli.objects(TWO, painter, **options)


def test_more_patches_than_fit_are_refused(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "MOST_PATCHES", 95)
    with pytest.raises(
        InputError, match=r"96 patches are more than MaskCut can hold \(95\): choose a smaller size"
    ):
        find(TWO, painter)
    assert len(find(TWO, painter, sizes=[56])) > 0


def test_more_patches_than_fit_are_refused_before_the_model_runs(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "MOST_PATCHES", 95)
    painter.shown = 0
    with pytest.raises(InputError, match="96 patches"):
        find(TWO, painter)
    assert painter.shown == 0


def test_a_bad_photo_is_an_input_error(painter: Painter, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        cratecli.objects(tmp_path / "gone.jpg", painter)


# What is written.


def run(folder: Path, model: WhiteBox, picture: Picture | None, batch_size: int = 8) -> list[ObjectsPhoto]:
    """Search four photos, the second broken; a file is written for each but the last."""
    contents = {"a": TWO, "b": None, "c": TURNED, "d": PLAIN}
    jobs = []
    for name, rgb in contents.items():
        path = folder / f"{name}.png"
        if rgb is None:
            path.write_bytes(b"no photo")
        else:
            Image.fromarray(rgb).save(path)
        jobs.append(Job(path, None if name == "d" else folder / "out" / path.name))
    recipe = choose_object_recipe(model, by="maskcut", sizes=[64], min_score=0.3, refine="none")
    outcomes = list(objects_run(Plan(tuple(jobs)), Desk(model, batch_size), recipe, kind=picture))
    assert [outcome.job for outcome in outcomes if isinstance(outcome, Failure)] == [jobs[1]]
    found = [outcome for outcome in outcomes if isinstance(outcome, ObjectsPhoto)]
    return sorted(found, key=lambda each: jobs.index(each.job))  # those of a size come together


def labels_of(found: list[Object]) -> np.ndarray:
    labels = np.zeros(found[0].mask.shape, int)
    for number, each in enumerate(found, 1):
        labels += number * each.mask
    return labels


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_labels_are_numbered_as_objects_are_cut(tmp_path: Path, painter: Painter, batch_size: int) -> None:
    done = run(tmp_path, painter, "labels", batch_size)
    for each, rgb in zip(done[:2], (TWO, TURNED), strict=True):
        assert each.job.target is not None
        assert each.job.target.read_bytes() == each.content
        with Image.open(each.job.target) as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), labels_of(find(rgb, painter)))
    with Image.open(io.BytesIO(done[2].content)) as image:
        assert np.asarray(image).tolist() == np.zeros((64, 96), int).tolist()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def test_an_overlay_tints_each_object_and_draws_its_box(tmp_path: Path, painter: Painter) -> None:
    done = run(tmp_path, painter, "overlay")
    palette = voc_palette()
    for each, rgb in zip(done, (TWO, TURNED), strict=False):
        found = find(rgb, painter)
        expected = tint(rgb, labels_of(found), palette)
        with Image.open(io.BytesIO(each.content)) as image:
            shown = np.array(image)
        assert (shown[0, 0] == expected[0, 0]).all()  # dim grey: nothing there
        for number, one in enumerate(found, 1):
            box = one.box
            edge = np.concatenate(
                [shown[box.bottom - 1, box.left : box.right], shown[box.top : box.bottom, box.left]]
            )
            assert (edge == palette[number]).all()
            corner = slice(box.bottom - 4, box.bottom - 1), slice(box.right - 4, box.right - 1)
            np.testing.assert_array_equal(shown[corner], expected[corner])
            words = shown[box.top : box.top + 12, box.left : box.right]
            assert words.min(axis=2).max() > 128  # nothing else in the box is near white
    with Image.open(io.BytesIO(done[2].content)) as image:
        np.testing.assert_array_equal(np.asarray(image), tint(PLAIN, np.zeros((64, 96), int), palette))


def test_annotations_are_the_objects(tmp_path: Path, painter: Painter) -> None:
    done = run(tmp_path, painter, None)
    assert [each.content for each in done] == [b""] * 3
    assert not (tmp_path / "out").exists()
    assert [len(each.annotated.objects) for each in done] == [2, 2, 0]
    for each, rgb in zip(done, (TWO, TURNED, PLAIN), strict=True):
        assert each.annotated.name == str(each.job.source)
        assert (each.annotated.height, each.annotated.width) == rgb.shape[:2]
        for annotation, expected in zip(
            each.annotated.objects, find(rgb, painter, min_score=0.3), strict=True
        ):
            np.testing.assert_array_equal(coco_mask.decode(annotation.rle), expected.mask)
            assert annotation.box == expected.box.xywh
            assert annotation.area == expected.area
            assert annotation.score == pytest.approx(expected.score, abs=1e-4)


def test_what_refinement_erases_is_kept_as_it_was(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cratecli.emergence.refine.grabcut", lambda rgb, soft, cut: np.zeros(soft.shape, bool)
    )
    plain, erased = (find(TWO, painter, refine=way) for way in ("none", "grabcut"))
    assert len(erased) == len(plain) > 0
    for one, other in zip(plain, erased, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


def test_objects_of_many_photos_come_in_their_order(painter: Painter, tmp_path: Path) -> None:
    photos = [TWO, PLAIN, TURNED]
    many = list(cratecli.objects_many(photos, painter, batch_size=2, by="maskcut", sizes=[64], min_score=0.3))
    assert [len(objects) for objects in many] == [2, 0, 2]
    for objects, rgb in zip(many, photos, strict=True):
        for one, alone in zip(objects, find(rgb, painter, min_score=0.3), strict=True):
            np.testing.assert_array_equal(one.mask, alone.mask)
    given: list[PhotoLike] = [TWO, tmp_path / "gone.png"]
    _, gone = cratecli.objects_many(given, painter, errors="return", sizes=[64])
    assert isinstance(gone, InputError)
