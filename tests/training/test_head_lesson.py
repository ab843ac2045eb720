"""A head's lesson: the loss is what is said, a step's batch hangs on its number, a resumed run ends the same."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cratecli.errors import UsageError
from cratecli.model.mask_head import HeadTensors, MaskHead, MaskLogits
from cratecli.training.folder import RunFolder
from cratecli.training.head_lesson import HeadLesson, HeadWithLoss, _vote, recoloured
from cratecli.training.head_recipe import HeadRecipe, read_head_recipe
from cratecli.training.pool import Pool
from cratecli.training.taught import TAUGHT
from cratecli.training.train_head import CHECKPOINT, train_head
from cratecli.training.watch import Trained, Watch
from cratecli.weights.mask_heads import load_head
from tests.support.mask_heads import head_config, painted_material, painted_pool
from tests.support.models import small_crate
from tests.support.toy import metrics, timeless

MODEL = small_crate()
RECIPE = HeadRecipe(epochs=6.0, batch_size=3, size=16, width=32, ema=0.9)


CONFIG = head_config(MODEL, token_width=12)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return painted_pool(tmp_path_factory.mktemp("pool"), CONFIG, MODEL.patch_size)


def lesson(pool: Pool, recipe: HeadRecipe = RECIPE) -> HeadLesson:
    return HeadLesson(recipe, MODEL.weights, pool, painted_material(), identity="d" * 64)


def run(pool: Pool, folder: Path, watch: Watch, recipe: HeadRecipe = RECIPE) -> Trained:
    held = RunFolder(folder, CHECKPOINT, begun=TAUGHT)
    if not (folder / "recipe.toml").exists():
        held.begin(recipe)
    held.hold()
    try:
        return train_head(held, lesson(pool, recipe), device="cpu", watch=watch)
    finally:
        held.close()


def test_the_loss_is_cross_entropy_at_both_sizes_and_the_soft_iou() -> None:
    class Undecided(MaskHead):
        def forward(self, inputs: HeadTensors) -> MaskLogits:
            return MaskLogits(torch.zeros(1, 8, 8), torch.zeros(1, 2, 2))

    loss = HeadWithLoss(Undecided(CONFIG))
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    iou = (16 + 1) / (32 + 32 - 16 + 1)
    empty = HeadTensors(*(torch.zeros(1),) * 6)
    once = torch.ones(1)
    assert float(loss(empty, mask, once)) == pytest.approx(1.4 * math.log(2) + 0.5 * (1 - iou), abs=1e-5)


def test_pictures_count_by_their_weights() -> None:
    class Certain(MaskHead):
        def forward(self, inputs: HeadTensors) -> MaskLogits:
            return MaskLogits(torch.full((2, 8, 8), 9.0), torch.full((2, 2, 2), 9.0))

    loss = HeadWithLoss(Certain(CONFIG))
    empty = HeadTensors(*(torch.zeros(2),) * 6)
    masks = torch.stack([torch.ones(1, 16, 16), torch.zeros(1, 16, 16)])
    right, wrong, both = (
        float(loss(empty, masks, torch.tensor(weights))) for weights in ((1.0, 0.0), (0.0, 1.0), (0.75, 0.25))
    )
    assert right < 1 < wrong and both == pytest.approx(0.75 * right + 0.25 * wrong, abs=1e-5)


def test_a_share_of_the_pictures_are_the_photos_themselves(pool: Pool) -> None:
    def weights(share: float) -> set[float]:
        recipe = RECIPE.changed({"photos": str(share)})
        return {float(each) for batch in lesson(pool, recipe).batches(range(12)) for each in batch.weights}

    assert weights(0) == {1.0}
    assert weights(1) == {0.5}
    assert weights(0.5) == {0.5, 1.0}


def test_a_batch_hangs_on_the_number_of_its_step_alone(pool: Pool) -> None:
    straight = list(lesson(pool).batches(range(20)))
    (late,) = lesson(pool).batches(range(3, 4))
    assert all(map(np.array_equal, straight[3].inputs, late.inputs))
    assert np.array_equal(straight[3].masks, late.masks)
    assert np.array_equal(straight[3].weights, late.weights)
    assert not np.array_equal(straight[1].inputs.photo, straight[3].inputs.photo)
    for batch in straight:
        rows, cols = batch.inputs.tokens.shape[2:]
        assert batch.masks.shape == (3, 4 * rows, 4 * cols) and batch.masks.max() <= 1
    assert len({batch.masks.shape for batch in straight}) > 3


def test_photos_are_never_told_the_vote_that_is_their_mask(pool: Pool) -> None:
    random = np.random.default_rng(0)
    photos = {_vote(random, composite=False) for _ in range(200)}
    composites = {_vote(random, composite=True) for _ in range(200)}
    assert photos == {None, 1, 2, 3, 4} and composites == photos | {0}


def test_colours_change_and_stay_the_same_for_a_step() -> None:
    photos = np.random.default_rng(0).random((4, 3, 8, 8)).astype(np.float32) - 0.5

    def changed(seed: int) -> np.ndarray:
        return recoloured(photos, np.random.default_rng(seed))

    assert np.array_equal(changed(5), changed(5)) and not np.array_equal(changed(5), changed(6))
    grey = recoloured(photos.repeat(20, axis=0), np.random.default_rng(0))
    assert 0 < sum(np.array_equal(each[0], each[1]) for each in grey) < 30


def test_a_head_learns_and_a_resumed_run_ends_with_the_same_bytes(pool: Pool, tmp_path: Path) -> None:
    whole = run(pool, tmp_path / "whole", Watch())
    assert whole.done and whole.steps == 120
    taken: list[int] = []
    part = run(
        pool,
        tmp_path / "part",
        Watch(on_step=lambda step, _steps: taken.append(step), stop=lambda: len(taken) >= 5),
    )
    assert not part.done
    assert run(pool, tmp_path / "part", Watch()).sha256 == whole.sha256
    assert timeless(tmp_path / "part") == timeless(tmp_path / "whole")
    losses = [row["loss"] for row in metrics(tmp_path / "whole") if "loss" in row]
    assert losses[-1] < losses[0]
    assert load_head(whole.checkpoint, MODEL).sha256 == whole.sha256
    assert whole.checkpoint.name == "head.safetensors"


def test_a_state_of_another_recipe_is_refused(pool: Pool, tmp_path: Path) -> None:
    run(pool, tmp_path, Watch(stop=lambda: True))
    with pytest.raises(UsageError, match="the recipe is not the one"):
        run(pool, tmp_path, Watch(), RECIPE.changed({"seed": "5"}))


def test_a_recipe_reads_back_and_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.to_toml())
    assert read_head_recipe(str(path)) == RECIPE
    with pytest.raises(UsageError, match="unknown setting 'colour'"):
        RECIPE.changed({"colour": "1"})
    with pytest.raises(UsageError, match="width is 33"):
        RECIPE.changed({"width": "33"})
    for text in ("width = 33", "colour = 1", "= ", "epochs = 'x'"):
        path.write_text(text)
        with pytest.raises(UsageError, match=str(path)):
            read_head_recipe(str(path))
