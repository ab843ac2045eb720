"""A pool of pictures: what is kept is what was seen, to 8 bits; windows are cut alike out of everything."""

from pathlib import Path

import numpy as np
import pytest

from cratecli.emergence import chooser
from cratecli.emergence.mask_head import head_inputs, resampled
from cratecli.errors import InputError
from cratecli.geometry import Grid, Size
from cratecli.runs.views import Question, views_of
from cratecli.tasks.ranker import ranker
from cratecli.tasks.recipes import defaults
from cratecli.training.pool import (
    OPINIONS,
    Pool,
    Window,
    clear_pool,
    frame_grid,
    frame_size,
    opinions,
    widen,
)
from cratecli.training.projection import Projection
from cratecli.training.teacher import judge
from tests.support.mask_heads import disc_photo, head_config, painted_pool
from tests.support.models import small_crate

MODEL = small_crate()
CONFIG = head_config(MODEL, token_width=12)
RECIPE = defaults(MODEL).segment


def seen(seed: int = 0):  # type: ignore[no-untyped-def]
    """Show the model a disc, framed."""
    grid = frame_grid(Size(72, 96), 16, 4)
    photo = resampled(disc_photo(seed), frame_size(grid))
    views = views_of([photo], MODEL, Question(RECIPE.layers, RECIPE.sizes))[0]
    return photo, views, head_inputs(photo, views, None, CONFIG)


def test_a_photo_goes_to_the_frame_of_its_aspect() -> None:
    assert frame_grid(Size(300, 400), 96, 8) == Grid(12, 16)
    assert frame_grid(Size(100, 900), 96, 8) == Grid(12, 18)
    assert frame_grid(Size(500, 500), 96, 8) == Grid(12, 12)
    assert frame_size(Grid(12, 16)) == (192, 256) and frame_size(Grid(18, 12)) == (252, 168)
    assert resampled(np.zeros((30, 90, 3), np.uint8), Size(20, 30)).shape == (20, 30, 3)


def test_what_was_seen_comes_back_to_eight_bits(tmp_path: Path) -> None:
    photo, views, inputs = seen()
    pool = Pool(tmp_path, CONFIG, 4, Projection.of([seen(number)[2] for number in range(4)]))
    votes = opinions(judge(photo, views), ranker(frame=True), ranker(frame=False), np.random.default_rng(0))
    mask = np.zeros(photo.shape[:2], bool)
    mask[:, : mask.shape[1] // 2] = True
    grid, record = pool.squeeze(inputs, votes, mask, 0.75)
    pool.append("photos", {grid: [record, record]})
    read = pool.read("photos")[grid]
    assert len(read) == 2 and read[1]["weight"] == 0.75
    whole = Window(0, 0, *grid, mirrored=False)
    back = widen([read[0]], [1], [whole])
    assert np.allclose(back.photo[0], inputs.photo, atol=0.5 / 255 + 1e-6)
    assert np.allclose(back.maps[0], np.clip(inputs.maps, -127 / 30, 127 / 30), atol=0.5 / 30 + 1e-6)
    components = np.einsum("dc,dhw->chw", pool.projection.tokens, inputs.tokens)
    assert np.allclose(back.tokens[0], np.clip(components, -8, 8), atol=0.5 / 16 + 0.07)
    told = back.vote[0, 0]
    assert told.shape == (16, 20) and np.abs(told).max() <= 1
    assert (read[0]["mask"][:, :9] == 255).all() and not read[0]["mask"][:, 11:].any()


def test_components_have_variance_one_on_average_and_are_the_same_each_time() -> None:
    pictures = [seen(number)[2] for number in range(4)]
    one, other = Projection.of(pictures), Projection.of(pictures)
    assert np.array_equal(one.tokens, other.tokens)
    rows = np.concatenate([each.tokens.reshape(len(each.tokens), -1).T for each in pictures]) @ one.tokens
    assert rows.std(axis=0).mean() == pytest.approx(1, rel=1e-3)


def test_votes_that_may_be_wrong_stand_behind_the_choosers() -> None:
    photo, views, _ = seen()
    judged = judge(photo, views)
    rankers = ranker(frame=True), ranker(frame=False)
    told = opinions(judged, *rankers, np.random.default_rng(1))
    again = opinions(judged, *rankers, np.random.default_rng(1))
    assert len(told) == OPINIONS and all(map(np.array_equal, told, again))
    own = [chooser.votes(chooser.score(judged, each)) for each in rankers]
    for vote, shares in zip(told, own, strict=False):
        assert np.array_equal(vote, chooser.soft_mask(judged, shares, judged.size))
    assert not np.array_equal(told[2], told[3])


def test_a_window_is_cut_alike_out_of_everything(tmp_path: Path) -> None:
    pool = painted_pool(tmp_path, CONFIG, 4)
    picture = pool.read("photos")[Grid(4, 5)][0]
    window = Window(1, 2, 2, 3, mirrored=True)
    cut = widen([picture, picture], [2, None], [window, window])
    assert cut.photo.shape == (2, 3, 16, 24) and cut.vote.shape == (2, 1, 8, 12)
    assert cut.fine_maps.shape[2:] == (4, 6) and cut.tokens.shape[2:] == (2, 3)
    assert np.array_equal(cut.vote[0, 0], picture["votes"][2][4:12, 8:20][:, ::-1] / np.float32(127.5) - 1)
    assert not cut.vote[1].any()


def test_a_pool_is_cut_to_what_counts(tmp_path: Path) -> None:
    pool = painted_pool(tmp_path, CONFIG, 4)
    grid = pool.grids[0]
    with (tmp_path / f"photos-{grid.rows}x{grid.cols}").open("ab") as stream:
        stream.write(b"torn")
    assert pool.count("photos")[grid] == 6
    pool.cut("photos", dict.fromkeys(pool.grids, 4))
    assert pool.count("photos") == dict.fromkeys(pool.grids, 4)
    with pytest.raises(InputError, match="has lost pictures"):
        pool.cut("photos", {grid: 5})
    pool.cut("photos", {})
    assert pool.read("photos") == {}


def test_a_projection_is_read_as_it_was_written(tmp_path: Path) -> None:
    inputs = seen()[2]
    channels = len(inputs.tokens)
    assert Projection.load(tmp_path, channels) is None
    made = Projection.of([inputs])
    made.store(tmp_path)
    read = Projection.load(tmp_path, channels)
    assert read and np.array_equal(read.fine_tokens, made.fine_tokens) and read.digest() == made.digest()
    assert Projection(made.tokens, -made.fine_tokens).digest() != made.digest()


def test_a_projection_that_is_none_of_this_pool_is_refused(tmp_path: Path) -> None:
    inputs = seen()[2]
    channels, made = len(inputs.tokens), Projection.of([inputs])
    path = tmp_path / "projection.safetensors"
    for fault in (made.tokens[:, :-1], made.tokens[:-1], made.tokens[0], made.tokens * np.float32(np.nan)):
        Projection(np.ascontiguousarray(fault), made.fine_tokens).store(tmp_path)
        with pytest.raises(InputError, match="is damaged"):
            Projection.load(tmp_path, channels)
    Projection(made.tokens.astype(np.float64), made.fine_tokens).store(tmp_path)
    with pytest.raises(InputError, match="is damaged"):
        Projection.load(tmp_path, channels)
    path.write_bytes(b"{}")
    with pytest.raises(InputError, match="is damaged"):
        Projection.load(tmp_path, channels)


@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_damaged_picture_is_noticed(tmp_path: Path, place: float) -> None:
    pool = painted_pool(tmp_path, CONFIG, 4)
    path = next(tmp_path.glob("composites-*"))
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    assert pool.read("photos")
    with pytest.raises(InputError, match=rf"{path}: is damaged"):
        pool.read("composites")


def test_clearing_leaves_what_is_not_the_pools(tmp_path: Path) -> None:
    painted_pool(tmp_path / "own", CONFIG, 4)
    (tmp_path / "own" / f".crate-{'0' * 32}.part").touch()
    clear_pool(tmp_path / "own")
    assert not (tmp_path / "own").exists()
    painted_pool(tmp_path, CONFIG, 4)
    mine = tmp_path / "my-box.txt", tmp_path / "photos-4x5.jpg", tmp_path / "a-bxc"
    mine[0].touch()
    mine[1].touch()
    mine[2].mkdir()
    clear_pool(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(mine)
