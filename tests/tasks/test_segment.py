"""The Python API: one photo in, one frozen record out, consistent in itself."""

from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pytest
import torch
from PIL import Image

import cratecli
from cratecli.emergence.masks import bounding_box, components, enlarge, iou
from cratecli.emergence.rules import Keep
from cratecli.errors import InputError, OutputError, UsageError
from cratecli.geometry import Size
from cratecli.io.images import PhotoLike
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.unroll import WhiteBox
from cratecli.runs.desk import Desk
from cratecli.runs.jobs import Failure, Job, Skipped
from cratecli.runs.planned import Plan
from cratecli.runs.portions import Written
from cratecli.tasks.options import Refine, SegmentOptions
from cratecli.tasks.pictures import PictureChoice
from cratecli.tasks.recipes import Recipe, choose_recipe
from cratecli.tasks.segment import Segmentation, segment_batch
from cratecli.tasks.segment_run import SegmentedPhoto, segment_run
from cratecli.weights.checkpoint import load_model
from tests.support.models import small_crate
from tests.support.photos import photo

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def model() -> WhiteBox:
    """Load the built-in model."""
    return load_model("crate-nano", device="cpu")


@pytest.fixture(scope="module")
def chelsea(model: WhiteBox) -> Segmentation:
    return cratecli.segment(EXAMPLES / "chelsea.jpg", model)


def test_the_record_is_consistent(chelsea: Segmentation, model: WhiteBox) -> None:
    assert chelsea.size == Size(300, 451)
    assert chelsea.mask.shape == chelsea.soft.shape == (300, 451)
    assert chelsea.mask.dtype == bool
    assert (chelsea.soft.min(), chelsea.soft.max()) == pytest.approx((0, 1), abs=0.1)
    assert chelsea.area == chelsea.mask.sum() > 0
    assert not chelsea.empty
    assert chelsea.box == bounding_box(chelsea.mask)
    assert 0 < chelsea.confidence <= 1
    assert chelsea.head_scores.shape == (len(chelsea.layers), model.heads)
    assert chelsea.head_shares.shape == chelsea.head_scores.shape
    assert chelsea.head_shares.sum() == pytest.approx(1)
    per_head = chelsea.head_shares.sum(axis=0)
    assert chelsea.heads == tuple(np.flatnonzero(per_head >= per_head.mean() - 1e-12))
    assert set(chelsea.heads) <= set(range(model.heads))
    assert chelsea.heads
    assert all(0 <= layer < model.depth for layer in chelsea.layers)
    assert chelsea.weights is not None
    assert chelsea.weights.name == "crate-nano"
    assert len(chelsea.weights.sha256) == 64


def test_the_record_is_frozen(chelsea: Segmentation) -> None:
    for name in ("mask", "threshold", "heads"):
        with pytest.raises(FrozenInstanceError):
            setattr(chelsea, name, None)
    with pytest.raises(AttributeError):
        chelsea.area = 3  # type: ignore[misc]


@pytest.mark.usefixtures("shipped_sizes")
def test_the_cat_is_in_the_mask(model: WhiteBox) -> None:
    """Chelsea's face fills the middle left; the corner at the top right shows the blanket."""
    mask = cratecli.segment(EXAMPLES / "chelsea.jpg", model, heads="agree").mask
    assert mask[100:200, 150:250].mean() > 0.8
    assert mask[:60, -60:].mean() < 0.2


@pytest.mark.usefixtures("shipped_sizes")
def test_the_cup_is_chosen(model: WhiteBox) -> None:
    """The cup lies left of the middle; the corner at the bottom right shows the table."""
    mask = cratecli.segment(EXAMPLES / "coffee.jpg", model).mask
    height, width = mask.shape
    assert mask[height // 4 : height // 2, width // 3 : 3 * width // 5].mean() > 0.8
    assert mask[-height // 5 :, -width // 5 :].mean() < 0.2


def test_an_array_and_its_file_give_the_same(chelsea: Segmentation, model: WhiteBox) -> None:
    path = EXAMPLES / "chelsea.jpg"
    rgb = np.asarray(Image.open(path).convert("RGB"))
    for image in (rgb, str(path)):
        other = cratecli.segment(image, model)
        np.testing.assert_array_equal(other.mask, chelsea.mask)
        np.testing.assert_array_equal(other.soft, chelsea.soft)
        assert (other.heads, other.threshold, other.confidence) == (
            chelsea.heads,
            chelsea.threshold,
            chelsea.confidence,
        )


def test_the_default_model_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: SegmentOptions = {"sizes": [64], "layers": [-1], "heads": "all", "refine": "none"}
    first = cratecli.segment(photo(40, 50), **plain)
    assert first.weights is not None
    assert first.weights.name == "crate-nano"

    def gone(_path: object) -> None:
        pytest.fail("the model's file was read again")

    monkeypatch.setattr("cratecli.weights.checkpoint.read_tensors", gone)
    cratecli.segment(photo(40, 50), **plain)


@pytest.mark.parametrize("refine", ["none", "guided", "grabcut"])
@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_constant_photo_shows_nothing(model: WhiteBox, refine: Any, colour: int) -> None:
    nothing = cratecli.segment(np.full((50, 70, 3), colour, np.uint8), model, refine=refine, sizes=[64])
    assert nothing.empty
    assert (nothing.area, nothing.box, nothing.confidence) == (0, None, 0.0)
    assert nothing.mask.shape == (50, 70)
    assert np.isfinite(nothing.soft).all()
    assert np.isfinite(nothing.head_scores).all()
    assert np.isfinite(nothing.threshold)


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (20, 1), (5, 7), (13, 13)])
def test_photos_under_one_patch(model: WhiteBox, size: tuple[int, int]) -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = cratecli.segment(tiny, model, sizes=[64])
    assert found.mask.shape == size
    assert np.isfinite(found.soft).all()


@pytest.mark.parametrize("heads", ["auto", "all", (0, 3)])
def test_a_batch_of_mixed_sizes_equals_singles(model: WhiteBox, heads: Any) -> None:
    photos = [photo(80, 100, 1), photo(100, 80, 2), photo(80, 100, 3), photo(79, 101, 4)]
    recipe = choose_recipe(model, heads=heads, sizes=[64, 96])
    together = segment_batch(photos, model, recipe)
    for image, found in zip(photos, together, strict=True):
        alone = segment_batch([image], model, recipe)[0]
        assert (found.mask == alone.mask).mean() >= 0.999
        np.testing.assert_allclose(found.soft, alone.soft, atol=1e-3)
        assert found.size == Size(*image.shape[:2])
        assert found.heads == alone.heads
    assert segment_batch([], model, recipe) == []


def test_the_same_photo_twice_is_the_same_mask(model: WhiteBox) -> None:
    first, second = (cratecli.segment(photo(60, 80), model, sizes=[64, 96]) for _ in range(2))
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.soft, second.soft)


def test_rows_are_rows(model: WhiteBox) -> None:
    """A photo that is all left to right gives, turned by a quarter, a map that is all top to bottom."""
    image = photo(60, 120)
    for rgb in (image, np.ascontiguousarray(image.transpose(1, 0, 2))):
        found = cratecli.segment(rgb, model, sizes=[64], refine="grabcut", heads="all", keep="top:0.4")
        assert found.size == Size(*rgb.shape[:2])
        disc = rgb[..., 0] > 130
        assert iou(found.mask, disc) > iou(found.mask, disc[::-1, ::-1])


def test_options_reach_the_mask(model: WhiteBox) -> None:
    image = photo(60, 80)
    plain: dict[str, Any] = {"sizes": [64], "refine": "none", "min_area": 0.0, "fill_holes": False}
    plain["min_confidence"] = 0.0
    layered = cratecli.segment(image, model, layers=[0, -1], heads=[2, 5], **plain)
    assert layered.layers == (0, 7)
    assert layered.heads == (2, 5)
    assert cratecli.segment(image, model, heads="all", **plain).heads == tuple(range(6))
    kept = [cratecli.segment(image, model, keep=f"top:{share}", **plain).area for share in (0.1, 0.3, 0.9)]
    assert kept == sorted(kept)
    assert kept[0] < kept[1] < kept[2]
    value = cratecli.segment(image, model, keep="0.5", **plain)
    np.testing.assert_array_equal(value.mask, value.soft >= 0.5)
    assert value.threshold == 0.5
    one = cratecli.segment(image, model, keep="top:0.3", **{**plain, "largest": True})
    assert 0 < one.area <= kept[1]
    assert cratecli.segment(image, model, keep="top:0.1", **{**plain, "min_area": 0.9}).empty


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"layers": [8]}, "layer 8 of a model with 8 layers"),
        ({"layers": [0, -9]}, "layer -9 of a model with 8 layers"),
        ({"heads": [6]}, "head 6 of a model with 6 heads"),
        ({"heads": [0, -1]}, "head -1 of a model with 6 heads"),
        ({"keep": "most"}, "'most' is not mass:F"),
        ({"keep": "mass:1.5"}, "'mass:1.5' is not mass:F"),
        ({"sizes": [0]}, "size"),
        ({"sizes": [64, 5000]}, "size"),
        ({"refine": "edges"}, "refine is 'edges', not 'none', 'guided' or 'grabcut'"),
        ({"min_area": 1.0}, "min_area is 1.0, not less than 1"),
        ({"min_area": -0.1}, "min_area is -0.1, not greater than or equal to 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    model: WhiteBox, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        cratecli.segment(photo(20, 30), model, **options)


@pytest.mark.parametrize("options", [{"layers": []}, {"sizes": []}, {"heads": []}])
def test_nothing_is_not_a_choice(model: WhiteBox, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="at least one"):
        cratecli.segment(photo(20, 30), model, **options)


def test_a_bad_photo_is_an_input_error(model: WhiteBox, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        cratecli.segment(tmp_path / "gone.jpg", model)


def test_a_map_that_is_not_finite_is_an_input_error(model: WhiteBox) -> None:
    broken = Crate(CrateConfig(patch_size=8, width=12, heads=3, depth=2, image_size=16, classes=0))
    with torch.no_grad():
        broken.position_embedding.fill_(torch.nan)
    with pytest.raises(InputError, match="not finite"):
        cratecli.segment(photo(20, 30), broken)


def test_the_papers_recipe_for_models_of_its_size() -> None:
    config = CrateConfig(patch_size=16, width=12, heads=3, depth=4, image_size=224, classes=0)
    recipe = choose_recipe(Crate(config), heads="agree")
    assert recipe.layers == (2,)
    assert recipe.keep == Keep("mass", 0.6)
    assert set(recipe.sizes) == {224}
    assert recipe.refine == "none"
    chosen = choose_recipe(Crate(config))
    assert (chosen.layers, chosen.sizes) == (recipe.layers, recipe.sizes)
    assert (chosen.heads, chosen.keep, chosen.refine) == ("auto", Keep("otsu"), "guided")


@pytest.mark.usefixtures("shipped_sizes")
def test_the_built_in_model_sees_a_photo_at_three_sizes(model: WhiteBox) -> None:
    assert choose_recipe(model, head="none").sizes == (64, 96, 192)


def test_only_the_chooser_looks_at_the_frame() -> None:
    model, rgb = small_crate(), photo(40, 50, 0)
    assert choose_recipe(model).frame
    recipe = choose_recipe(model, frame=False)
    assert "without the frame" in str(recipe)
    assert choose_recipe(model, **recipe.as_options()) == recipe
    for heads in ("agree", "all", [1]):
        with pytest.raises(UsageError, match="only heads auto can do without the frame"):
            choose_recipe(model, heads=heads, frame=False)
    one, other = (cratecli.segment(rgb, model, frame=frame) for frame in (True, False))
    assert one.layers == other.layers
    assert not np.array_equal(one.soft, other.soft)


def test_the_choosers_map_is_cut_in_the_middle() -> None:
    model, rgb = small_crate(), photo(40, 50, 0)
    plain = cratecli.segment(rgb, model, refine="none", min_area=0.0, fill_holes=False)
    assert plain.threshold == 0.5
    np.testing.assert_array_equal(plain.mask, plain.soft >= 0.5)
    agreed = cratecli.segment(rgb, model, heads="agree", refine="none")
    np.testing.assert_array_equal(plain.head_scores, agreed.head_scores)


def test_less_confidence_than_was_asked_for_leaves_the_mask_empty(
    model: WhiteBox, chelsea: Segmentation
) -> None:
    assert 0.3 < chelsea.confidence < 1
    for bound, empty in ((0.0, False), (chelsea.confidence, False), (1.0, True)):
        found = cratecli.segment(EXAMPLES / "chelsea.jpg", model, min_confidence=bound)
        assert (found.empty, found.confidence) == (empty, chelsea.confidence)
        np.testing.assert_array_equal(found.soft, chelsea.soft)


def test_the_least_confidence_is_the_models_unless_it_is_said(model: WhiteBox) -> None:
    def least(**asked: Unpack[SegmentOptions]) -> float:
        recipe = choose_recipe(model, **asked)
        assert choose_recipe(model, **recipe.as_options()) == recipe
        return recipe.min_confidence

    assert (least(), least(heads="agree")) == (model.least_confidence, model.least_agreement)
    assert (least(heads="all"), least(heads=[1])) == (0, 0)
    assert (least(min_confidence=0.0), least(heads=[1], min_confidence=0.5)) == (0, 0.5)
    with pytest.raises(UsageError, match=r"min_confidence is 1\.5"):
        least(min_confidence=1.5)


def test_a_recipe_says_itself_in_the_command_lines_words() -> None:
    recipe = Recipe(layers=(-2, -1), sizes=(64, 96), heads=(0, 3), keep=Keep("top", 0.25), refine="guided")
    text = str(recipe)
    for part in ("layers -2,-1", "heads 0,3", "sizes 64,96", "keep top:0.25", "refine guided"):
        assert part in text


def test_prepare_is_what_the_model_takes(model: WhiteBox) -> None:
    batch = cratecli.prepare(photo(60, 90), model)
    assert batch.shape == (1, 3, 96, 144)
    assert batch.dtype == torch.float32
    assert cratecli.prepare(photo(60, 90), model, size=32).shape == (1, 3, 32, 48)
    with torch.inference_mode():
        assert model(batch).shape == (1, 120)
    mean = torch.tensor(model.mean).view(3, 1, 1)
    std = torch.tensor(model.std).view(3, 1, 1)
    pixels = (batch[0] * std + mean) * 255
    assert pixels.min() > -40
    assert pixels.max() < 295


def jobs(folder: Path) -> list[Job]:
    """Lay out three photos, the middle one broken."""
    for name in "ac":
        Image.fromarray(photo(40, 50)).save(folder / f"{name}.png")
    (folder / "b.png").write_bytes(b"no photo")
    return [Job(folder / f"{name}.png", folder / "out" / f"{name}.png") for name in "abc"]


@pytest.fixture
def recipe(model: WhiteBox) -> Recipe:
    return replace(choose_recipe(model), sizes=(64,), refine="none")


def outcomes(
    planned: Sequence[Job], model: WhiteBox, recipe: Recipe, size: int
) -> Iterator[SegmentedPhoto | Failure | Skipped | Written]:
    return segment_run(Plan(tuple(planned)), Desk(model, size), recipe, picture=PictureChoice("mask"))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_broken_photo_does_not_stop_the_others(
    tmp_path: Path, model: WhiteBox, recipe: Recipe, size: int
) -> None:
    planned = jobs(tmp_path)
    done = list(outcomes(planned, model, recipe, size))
    failed = [outcome for outcome in done if isinstance(outcome, Failure)]
    assert [failure.job for failure in failed] == [planned[1]]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    for outcome in done:
        if isinstance(outcome, SegmentedPhoto):
            assert outcome.job.target is not None
            with Image.open(outcome.job.target) as written:
                np.testing.assert_array_equal(np.asarray(written) > 0, outcome.segmentation.mask)


def test_outputs_that_cannot_be_written_fail_their_photos(
    tmp_path: Path, model: WhiteBox, recipe: Recipe
) -> None:
    planned = jobs(tmp_path)
    (tmp_path / "out").write_bytes(b"a file where a folder is needed")
    done = list(outcomes(planned, model, recipe, 8))
    failures = [outcome for outcome in done if isinstance(outcome, Failure)]
    assert len(failures) == len(planned)
    assert {type(each.error) for each in failures} == {InputError, OutputError}
    assert (tmp_path / "out").read_bytes() == b"a file where a folder is needed"


@pytest.mark.usefixtures("shipped_sizes")
@pytest.mark.parametrize("texture", ["noise", "grain", "gradient"])
def test_where_nothing_is_the_mask_says_so(model: WhiteBox, texture: str) -> None:
    random = np.random.default_rng(0)
    values = {
        "noise": random.integers(0, 256, (120, 160)),
        "grain": random.normal(128, 5, (120, 160)),
        "gradient": np.tile(np.linspace(0, 255, 160), (120, 1)),
    }[texture]
    rgb = np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)
    nothing = cratecli.segment(rgb, model)
    assert nothing.empty
    assert nothing.confidence < model.least_confidence
    agreed = cratecli.segment(rgb, model, heads="agree")
    assert agreed.empty and agreed.confidence < model.least_agreement
    named = cratecli.segment(rgb, model, heads="all")
    # A head that was named is shown, whatever it saw, but where all is one colour.
    flat = texture == "grain"
    assert (named.empty, named.confidence == 0, nothing.confidence == 0) == (flat, flat, flat)


def test_heads_that_were_named_are_shown_however_little_they_agree(model: WhiteBox) -> None:
    found = cratecli.segment(
        EXAMPLES / "chelsea.jpg", model, heads=[2, 5], layers=[-2], keep="mass:0.6", refine="none"
    )
    assert 0.2 < found.area / found.mask.size < 0.8
    whole = cratecli.segment(EXAMPLES / "chelsea.jpg", model, heads=[2], keep="mass:1", refine="none")
    assert whole.mask.all()
    assert whole.confidence == 0


def test_a_photo_may_be_a_pillow_image(model: WhiteBox, chelsea: Segmentation) -> None:
    with Image.open(EXAMPLES / "chelsea.jpg") as opened:
        np.testing.assert_array_equal(cratecli.segment(opened, model).mask, chelsea.mask)
    with pytest.raises(InputError, match="no RGB photo"):
        cratecli.segment(np.zeros((4, 4), np.uint8), model)


def test_layers_are_counted_from_0_whoever_chose_them(model: WhiteBox) -> None:
    assert choose_recipe(model).layers == (4, 5, 6, 7)
    assert choose_recipe(model, layers=[-2], heads=[2, 2, 0]).layers == (6,)
    assert choose_recipe(model, heads=[2, 2, 0]).heads == (2, 0)


# Many photos, and many questions.


def test_many_photos_are_segmented_in_their_order(tmp_path: Path, model: WhiteBox) -> None:
    """Sizes that go through the model together come back where they belong; photos are taken as they are needed."""
    photos = [photo(40, 50, 0), photo(64, 48, 1), photo(40, 50, 2), photo(64, 48, 3), photo(30, 30, 4)]
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, rgb in zip(paths, photos, strict=True):
        Image.fromarray(rgb).save(path)
    given: list[PhotoLike] = [paths[0], str(paths[1]), Image.fromarray(photos[2]), photos[3], paths[4]]
    quick: SegmentOptions = {"sizes": [64], "refine": "none", "heads": "all"}
    for batch_size in (1, 2, 8):
        many = list(cratecli.segment_many(iter(given), model, batch_size=batch_size, **quick))
        for found, rgb in zip(many, photos, strict=True):
            alone = cratecli.segment(rgb, model, **quick)
            assert found.size == alone.size
            assert iou(found.mask, alone.mask) > 0.99
    assert list(cratecli.segment_many([], model)) == []


def test_a_bad_photo_among_many_raises_or_stands_in_its_place(tmp_path: Path, model: WhiteBox) -> None:
    (tmp_path / "bad.png").write_bytes(b"no photo")
    given: list[PhotoLike] = [photo(40, 50, 0), tmp_path / "bad.png", photo(64, 48, 1)]
    results = list(cratecli.segment_many(given, model, errors="return", sizes=[64]))
    assert [type(each).__name__ for each in results] == ["Segmentation", "InputError", "Segmentation"]
    with pytest.raises(InputError, match=r"bad\.png"):
        list(cratecli.segment_many(given, model, sizes=[64]))
    with pytest.raises(InputError, match="no RGB photo"):
        list(cratecli.segment_many([np.zeros((4, 4), np.uint8)], model))


def test_what_many_photos_showed_is_kept_for_the_next_question(tmp_path: Path) -> None:
    model, photos = small_crate(), [photo(40, 50, 0), photo(64, 48, 1)]
    first = list(cratecli.segment_many(photos, model, cache=tmp_path, keep="otsu"))
    shown = model.shown
    again = list(cratecli.segment_many(photos, model, cache=tmp_path, keep="top:0.2"))
    assert model.shown == shown > 0
    assert [each.confidence for each in first] != [each.confidence for each in again]


def test_one_look_answers_many_questions() -> None:
    """Of the same layers and sizes in one forward pass, and as a photo would."""
    model, rgb = small_crate(), photo(40, 50, 0)
    opened = cratecli.look(rgb, model)
    found = cratecli.segment(opened)
    passes = model.shown
    maps = cratecli.heads(opened)
    assert model.shown == passes
    np.testing.assert_array_equal(maps.scores, found.head_scores)
    one = cratecli.segment(opened, heads=[1], layers=[-1])
    assert model.shown == passes
    cratecli.objects(opened)
    assert model.shown == passes
    assert len(cratecli.objects(opened, by="maskcut", min_score=0)) > 0
    assert model.shown == passes + 1  # its size is another
    cratecli.objects(opened, by="maskcut", min_score=0.9, tau=0.3)
    cratecli.parts([opened], k=2, foreground="attention")
    assert model.shown == passes + 1
    alone = cratecli.segment(rgb, small_crate(), heads=[1], layers=[-1])
    np.testing.assert_array_equal(one.mask, alone.mask)


def test_an_unknown_option_is_a_type_error(model: WhiteBox) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        cratecli.segment(photo(20, 30), model, size=64)  # type: ignore[call-arg]


def test_a_recipe_chooses_itself_again(model: WhiteBox) -> None:
    photo_ = photo(20, 30)
    recipe = replace(choose_recipe(model), keep=Keep("top", 0.3), sizes=(64,))
    assert choose_recipe(model, **recipe.as_options()) == recipe
    one, other = (
        cratecli.segment(photo_, model, **asked)
        for asked in (recipe.as_options(), {"keep": Keep("top", 0.3), "sizes": [64]})
    )
    np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.parametrize(("rule", "value"), [("mass", 6.0), ("top", 0.0), ("value", float("nan"))])
def test_no_such_rule(rule: Any, value: float) -> None:
    with pytest.raises(ValueError, match=r"is not mass:F, top:F, otsu, mean or a number F, with 0 < F ≤ 1"):
        Keep(rule, value)


def test_photos_that_are_one_and_errors_that_are_neither(model: WhiteBox) -> None:
    with pytest.raises(UsageError, match="errors is 'Return', not 'raise' or 'return'"):
        list(cratecli.segment_many([], model, errors="Return"))  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="photos is 'examples', not a list of photos"):
        list(cratecli.segment_many("examples", model))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None])
def test_a_batch_that_is_none(model: WhiteBox, batch_size: Any) -> None:
    with pytest.raises(UsageError, match=r"batch_size is .*, not a whole number above 0"):
        list(cratecli.segment_many([photo(20, 30)], model, batch_size=batch_size))


def test_options_may_be_numpys(model: WhiteBox) -> None:
    plain = choose_recipe(model, layers=[1], sizes=[64], heads=[0, 2], largest=True, min_area=0.5)
    held: Any = {
        "layers": np.array([1]),
        "sizes": [np.int32(64)],
        "heads": np.argsort([0, 9, 1])[:2],
        "largest": np.True_,
        "min_area": np.float32(0.5),
    }
    assert choose_recipe(model, **held) == plain


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layers": 0}, "layers is 0, not a list of whole numbers or 'all'"),
        ({"min_area": float("nan")}, "min_area is nan, not a number"),
        ({"heads": 0}, "heads is 0, not 'auto', 'agree' or 'all' or a list of whole numbers"),
    ],
)
def test_options_of_another_kind(model: WhiteBox, asked: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        choose_recipe(model, **asked)
    with pytest.raises(UsageError, match="sizes is empty"):
        Recipe((1,), ())


def test_what_is_no_photo_takes_its_place(model: WhiteBox) -> None:
    photos: list[Any] = [None, 5, np.zeros((2, 2), np.float32), photo(20, 30)]
    results = list(cratecli.segment_many(photos, model, errors="return", sizes=[64]))
    assert [type(result) for result in results] == [InputError] * 3 + [Segmentation]


def test_a_click_chooses_what_is_there() -> None:
    model, rgb = small_crate(), photo(40, 50, 0)
    for at in ((3, 5), (45, 35)):
        found = cratecli.segment(rgb, model, at=[at], refine="none")
        assert found.mask[at[1], at[0]]
        assert len(list(components(found.mask))) == 1
        assert 0 < found.confidence <= 1
        assert found.threshold == 0.5


def test_a_click_is_asked_of_one_head_as_the_class_token_is() -> None:
    model, rgb = small_crate().requires_grad_(False), photo(40, 50, 0)
    asked: dict[str, Any] = {"heads": [1], "layers": [-1], "sizes": [40], "refine": "none", "keep": "mean"}
    found = cratecli.segment(rgb, model, at=[(13, 22)], min_area=0, fill_holes=False, **asked)
    *_, state, _ = model.unroll(cratecli.prepare(rgb, model, 40))
    row = (
        state.patch_attention(5 * state.grid.cols + 13 * state.grid.cols // 50)[0, 1]
        .reshape(state.grid)
        .log()
    )
    scaled = ((row - row.min()) / (row.max() - row.min())).numpy()
    np.testing.assert_allclose(found.threshold, scaled.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.soft, enlarge(scaled, Size(40, 50)), atol=1e-4)
    np.testing.assert_array_equal(found.mask, found.soft >= found.threshold)
    assert (found.mask != cratecli.segment(rgb, model, min_area=0, fill_holes=False, **asked).mask).any()


def test_what_was_clicked_off_is_not_in_the_mask() -> None:
    model, rgb = small_crate(), photo(40, 50, 0)
    found = cratecli.segment(rgb, model, at=[(3, 5)], not_at=[(45, 35)], refine="none")
    assert found.mask[5, 3]
    assert not found.mask[35, 45]


@pytest.mark.parametrize("refine", ["none", "guided", "grabcut"])
def test_what_was_clicked_off_beside_what_was_clicked_on(model: WhiteBox, refine: Refine) -> None:
    """Refinement does not bring the pixel back."""
    look = cratecli.look(EXAMPLES / "coins.jpg", model)
    found = cratecli.segment(look, at=[(250, 14)], not_at=[(251, 14)], refine=refine)
    assert found.mask[14, 250]
    assert not found.mask[14, 251]


def test_a_patch_that_is_clicked_on_and_off_does_not_cancel_itself_out(model: WhiteBox) -> None:
    look = cratecli.look(EXAMPLES / "coins.jpg", model)
    meant = cratecli.segment(look, heads="all", at=[(250, 14)], refine="none")
    both = cratecli.segment(look, heads="all", at=[(250, 14)], not_at=[(251, 14)], refine="none")
    np.testing.assert_array_equal(both.soft, meant.soft)


def test_a_look_answers_clicks_as_a_photo_does() -> None:
    model, rgb = small_crate(), photo(40, 50, 0)
    seen = cratecli.look(rgb, model)
    for at in ((3, 5), (45, 35)):
        np.testing.assert_array_equal(
            cratecli.segment(seen, at=[at]).mask, cratecli.segment(rgb, model, at=[at]).mask
        )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"at": [(50, 3)]}, "50,3 is outside the photo: upright it is 50 × 40 px, counted from 0"),
        ({"at": [(3, 3)], "not_at": [(3, 40)]}, "3,40 is outside the photo"),
        ({"not_at": [(3, 3)]}, "say with at what is"),
        ({"at": [(9, 9), (3, 3)], "not_at": [[3, 3]]}, "3,3 is meant and not meant"),
        ({"at": [(3, 3)], "head": "head.safetensors"}, "a mask head takes no clicks"),
        ({"at": [(-1, 3)]}, r"at is \[\[-1, 3\]\], not a list of pixels, each x and y, from 0"),
        ({"at": [(3,)]}, r"at is \[\[3\]\], not a list of pixels"),
        ({"at": [3, 4]}, r"at is \[3, 4\], not a list of pixels"),
    ],
)
def test_clicks_that_make_no_sense(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cratecli.segment(photo(40, 50, 0), small_crate(), **asked)


def test_a_click_is_on_one_photo() -> None:
    with pytest.raises(UsageError, match="a click is on one photo"):
        cratecli.segment_many([photo(40, 50, 0)], small_crate(), at=[(3, 3)])


def test_a_click_may_have_any_confidence_and_size_unless_it_is_said(model: WhiteBox) -> None:
    recipe = choose_recipe(model, at=[(3, 4)])
    assert (recipe.min_confidence, recipe.min_area, recipe.fill_holes) == (0, 0, True)
    assert not choose_recipe(model, at=[(3, 4)], not_at=[(1, 2)]).fill_holes
    said = choose_recipe(model, at=[(3, 4)], min_confidence=0.3, min_area=0.02)
    assert (said.min_confidence, said.min_area) == (0.3, 0.02)
    assert said.as_data()["at"] == [[3, 4]]
    assert choose_recipe(model, **said.as_options()) == said
    assert str(recipe).endswith(", at 3,4")


def test_a_click_on_a_photo_of_one_colour_is_on_nothing() -> None:
    found = cratecli.segment(np.full((40, 50, 3), 80, np.uint8), small_crate(), at=[(3, 3)])
    assert found.empty
    assert found.confidence == 0
