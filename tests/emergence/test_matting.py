"""Soft edges: the trimap of a mask, and the alpha of a photo that was mixed with a known one."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence import matting


def mixed(height: int = 96, width: int = 128, softness: float = 5.0) -> tuple[RGB, Soft, RGB]:
    """Mix an orange disc over a blue ground, its edge `softness` px wide; gives photo, alpha and the disc's colours."""
    rows, cols = np.mgrid[:height, :width]
    distance = height * 0.3 - np.hypot(rows - height / 2, cols - width / 2)
    alpha = np.clip(distance / softness + 0.5, 0, 1)
    shade = (0.8 + 0.2 * np.sin(cols / 17))[..., None]
    figure, ground = np.array([230, 120, 40]) * shade, np.array([30, 60, 170]) * shade[:, ::-1]
    whole = alpha[..., None] * figure + (1 - alpha[..., None]) * ground
    return whole.round().astype(np.uint8), alpha.astype(np.float32), figure.round().astype(np.uint8)


def test_a_trimap_has_its_edge_where_the_mask_ends() -> None:
    mask = np.zeros((100, 120), bool)
    mask[20:80, 30:90] = True
    known = matting.trimap(mask)
    assert set(np.unique(known)) == {0, 0.5, 1}
    assert (known[50, 27:33] == 0.5).all()
    assert (known[50, 60], known[5, 5]) == (1, 0)
    assert not mask[known == 0].any()
    assert mask[known == 1].all()


def test_thin_pieces_keep_pixels_that_are_sure() -> None:
    mask = np.zeros((200, 200), bool)
    mask[20:150, 20:150] = True
    mask[180:183, 10:190] = True
    known = matting.trimap(mask)
    assert (known[181, 20:180] == 1).all()
    narrow = ~np.zeros((60, 60), bool)
    narrow[:, 30] = False
    assert (matting.trimap(narrow)[:, 30] == 0).all()


@pytest.mark.parametrize("fill", [False, True])
def test_without_an_edge_there_is_nothing_to_soften(fill: bool) -> None:
    rgb, mask = mixed()[0], np.full((96, 128), fill)
    colours, alpha = matting.matte(rgb, mask)
    np.testing.assert_array_equal(colours, rgb)
    np.testing.assert_array_equal(alpha, mask)


@pytest.mark.parametrize("most", [10_000_000, 500])
def test_only_the_edge_changes(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A stand-in for `pymatting` says 0.25 and black everywhere."""
    stand_in = SimpleNamespace(
        estimate_alpha_cf=lambda _rgb, known, **_: np.full(known.shape, 0.25),
        estimate_foreground_ml=lambda rgb, _alpha: np.zeros_like(rgb),
    )
    monkeypatch.setitem(sys.modules, "pymatting", stand_in)
    monkeypatch.setattr(matting, "MOST_PIXELS", most)
    rgb, alpha, _ = mixed()
    mask: Mask = alpha >= 0.5
    edge = matting.trimap(mask) == 0.5
    before = rgb.copy()
    colours, soft = matting.matte(rgb, mask)
    np.testing.assert_array_equal(rgb, before)
    np.testing.assert_allclose(soft[edge], 0.25)
    np.testing.assert_array_equal(soft[~edge], mask[~edge])
    np.testing.assert_array_equal(colours[~edge], rgb[~edge])
    assert not colours[edge].any()


@pytest.mark.parametrize("compiled", [2, 0])
def test_compiling_is_said_once_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: int
) -> None:
    """A stand-in for `pymatting` tells numba's listeners, as its loops do, how many of them are compiled."""
    pytest.importorskip("numba", reason="pip install 'cratecli[matting]'")
    loops = f"for _ in range({compiled}):\n    with event.trigger_event('numba:compile'): pass\n"
    solvers = (
        "estimate_alpha_cf = lambda _rgb, known, **_: known\nestimate_foreground_ml = lambda rgb, _: rgb\n"
    )
    (tmp_path / "pymatting.py").write_text(f"from numba.core import event\n{loops}{solvers}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pymatting", raising=False)
    notes = list[str]()
    rgb, alpha, _ = mixed()
    for _ in range(2):
        matting.matte(rgb, alpha >= 0.5, notes.append)
    monkeypatch.delitem(sys.modules, "pymatting")
    assert notes == [matting.COMPILES][:compiled]


@pytest.mark.slow
@pytest.mark.parametrize("most", [10_000_000, 3_000])
def test_a_known_alpha_is_found_again(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    pytest.importorskip("pymatting", reason="pip install 'cratecli[matting]'")
    monkeypatch.setattr(matting, "MOST_PIXELS", most)
    rgb, alpha, figure = mixed()
    mask: Mask = alpha >= 0.5
    edge = (alpha > 0) & (alpha < 1)
    colours, soft = matting.matte(rgb, mask)
    hard, error = np.abs(mask - alpha)[edge].mean(), np.abs(soft - alpha)[edge].mean()
    assert hard > 0.2
    assert error < (0.03 if most > rgb.size else 0.08)
    some = edge & (alpha > 0.2)
    of_figure = np.abs(colours.astype(int) - figure)[some].mean()
    assert of_figure < 0.3 * np.abs(rgb.astype(int) - figure)[some].mean()
    again = matting.matte(rgb, mask)
    np.testing.assert_array_equal(again[0], colours)
    np.testing.assert_array_equal(again[1], soft)


@pytest.mark.slow
def test_grain_makes_no_comb() -> None:
    """Where inside and outside are alike but for grain, alpha falls evenly along the edge: 0.081 before, 0.017 now."""
    pytest.importorskip("pymatting", reason="pip install 'cratecli[matting]'")
    grain = np.random.default_rng(0).normal(60, 0.5, (60, 80, 1)).repeat(3, axis=2)
    mask = np.zeros((60, 80), bool)
    mask[:30] = True
    _, alpha = matting.matte(grain.round().astype(np.uint8), mask)
    assert np.abs(np.diff(alpha[29:32], n=2, axis=1)).mean() < 0.03
