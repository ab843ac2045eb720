"""The mask head's network: what it reads changes its masks, what it does not read does not; photos stand alone."""

from dataclasses import replace

import pytest
import torch

from cratecli.model.head_inputs import CELL, MaskHeadConfig, Reads
from cratecli.model.mask_head import HeadTensors, MaskHead, Residual

CONFIG = MaskHeadConfig(
    "0" * 64, layers=(0, 2), heads=3, token_width=5, sizes=(16, 24, 48), size=24, width=32
)


def inputs(batch: int = 2, rows: int = 3, cols: int = 4) -> HeadTensors:
    return HeadTensors(
        photo=torch.rand(batch, 3, CELL * rows, CELL * cols) - 0.5,
        vote=2 * torch.rand(batch, 1, 4 * rows, 4 * cols) - 1,
        tokens=torch.randn(batch, 10, rows, cols),
        maps=torch.randn(batch, 12, rows, cols),
        fine_tokens=torch.randn(batch, 10, 2 * rows, 2 * cols),
        fine_maps=torch.randn(batch, 6, 2 * rows, 2 * cols),
    )


def lively(config: MaskHeadConfig, channels: tuple[int, int] | None = None) -> MaskHead:
    """Make a head whose residual blocks add something from the start."""
    head = MaskHead(config, channels=channels).eval().requires_grad_(False)
    for module in head.modules():
        if isinstance(module, Residual):
            torch.nn.init.normal_(module.second.weight, std=0.05)
    return head


def test_masks_lie_on_half_the_photo_and_on_the_grid() -> None:
    logits = lively(CONFIG)(inputs())
    assert logits.fine.shape == (2, 12, 16) and logits.coarse.shape == (2, 3, 4)


@pytest.mark.parametrize(("reads", "photo", "model"), [("both", 1, 1), ("photo", 1, 0), ("model", 0, 1)])
def test_a_head_hangs_on_what_it_reads_and_on_nothing_else(reads: Reads, photo: bool, model: bool) -> None:
    head, one, other = lively(replace(CONFIG, reads=reads)), inputs(), inputs()
    same = head(one).fine
    for name in HeadTensors._fields:
        changed = head(one._replace(**{name: getattr(other, name)})).fine
        assert torch.equal(same, changed) != (photo if name == "photo" else model), name


def test_a_vote_that_is_sure_is_followed_at_first() -> None:
    head = MaskHead(CONFIG).eval().requires_grad_(False)
    head.fine.weight.zero_()
    told = inputs()
    drawn = head(told).fine
    assert torch.allclose(drawn - head.fine.bias, 2 * told.vote[:, 0], atol=1e-6)


def test_tokens_may_come_as_their_principal_components() -> None:
    logits = lively(CONFIG, channels=(4, 2))(
        inputs()._replace(tokens=torch.randn(2, 4, 3, 4), fine_tokens=torch.randn(2, 2, 6, 8))
    )
    assert logits.fine.shape == (2, 12, 16)


def test_a_photo_stands_alone_in_its_batch() -> None:
    head, batch = lively(CONFIG), inputs()
    single = HeadTensors(*(each[1:] for each in batch))
    assert torch.allclose(head(batch).fine[1:], head(single).fine, atol=1e-5)


def test_a_residual_block_starts_as_the_identity() -> None:
    values = torch.randn(1, 32, 4, 4)
    assert torch.equal(Residual(32)(values), values)


def test_views_have_their_places() -> None:
    assert (CONFIG.place, CONFIG.finest, CONFIG.coarse) == (1, 2, (0, 1))
    mirrored = replace(CONFIG, sizes=(24, 24))
    assert (mirrored.place, mirrored.finest, mirrored.coarse) == (0, 0, (1,))
    alone = replace(CONFIG, sizes=(24,))
    assert (alone.place, alone.finest, alone.coarse) == (0, 0, (0,))


def test_a_config_is_strict() -> None:
    assert MaskHeadConfig.from_dict(CONFIG.to_dict()) == CONFIG
    with pytest.raises(ValueError, match="colour"):
        MaskHeadConfig.from_dict(CONFIG.to_dict() | {"colour": 1})
    for name, value in {
        "width": 33,
        "heads": 0,
        "model_sha256": "x",
        "reads": "mind",
        "layers": (-1,),
        "sizes": (),
        "size": 32,
    }.items():
        with pytest.raises(ValueError, match=name):
            MaskHeadConfig.from_dict(CONFIG.to_dict() | {name: value})
