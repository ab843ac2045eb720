"""The mask head's network: what it reads changes its masks, what it does not read does not; photos stand alone."""

from dataclasses import replace

import pytest
import torch

from cratecli.model.mask_head import CELL, HeadInputs, MaskHead, MaskHeadConfig, Reads, Residual

CONFIG = MaskHeadConfig("0" * 64, layers=(0, 2), heads=3, token_width=5, width=32)


def inputs(batch: int = 2, rows: int = 3, cols: int = 4) -> HeadInputs:
    return HeadInputs(
        torch.rand(batch, 3, CELL * rows, CELL * cols) - 0.5,
        torch.randn(batch, 10, rows, cols),
        torch.randn(batch, 6, rows, cols),
    )


def lively(config: MaskHeadConfig) -> MaskHead:
    """Make a head whose residual blocks add something from the start."""
    head = MaskHead(config).eval().requires_grad_(False)
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
    assert torch.equal(same, head(one._replace(photo=other.photo)).fine) != photo
    assert torch.equal(same, head(one._replace(tokens=other.tokens)).fine) != model
    assert torch.equal(same, head(one._replace(maps=other.maps)).fine) != model


def test_a_photo_stands_alone_in_its_batch() -> None:
    head, batch = lively(CONFIG), inputs()
    single = HeadInputs(*(each[1:] for each in batch))
    assert torch.allclose(head(batch).fine[1:], head(single).fine, atol=1e-5)


def test_a_residual_block_starts_as_the_identity() -> None:
    values = torch.randn(1, 32, 4, 4)
    assert torch.equal(Residual(32)(values), values)


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
    }.items():
        with pytest.raises(ValueError, match=name):
            MaskHeadConfig.from_dict(CONFIG.to_dict() | {name: value})
