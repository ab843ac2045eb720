"""Regions of known tokens must be cut as drawn, and real-looking tokens as the equations, written out, cut them."""

import warnings

import numpy as np
import pytest
import scipy.linalg
from scipy import ndimage

from cratecli.emergence import maskcut as module
from cratecli.emergence.maskcut import (
    EPSILON,
    cuts,
    mask_of,
    maskcut,
    ncut,
    normalised_cut,
    objectness,
    second_eigenvector,
)


def regions(labels: np.ndarray, likeness: np.ndarray | None = None) -> np.ndarray:
    """Give each region one token; tokens of two regions have the cosines of `likeness` (else 0)."""
    count = labels.max() + 1
    gram = np.eye(count) if likeness is None else likeness
    return np.asarray(np.linalg.cholesky(gram)[labels], np.float32)


def unit(tokens: np.ndarray) -> np.ndarray:
    return np.asarray(tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12))


def smooth(seed: int, rows: int, cols: int, d: int = 12, patches: float = 1.0) -> np.ndarray:
    """Draw random tokens that change slowly over the grid."""
    noise = np.random.default_rng(seed).normal(0, 1, (rows, cols, d))
    return np.asarray(ndimage.gaussian_filter(noise, (patches, patches, 0)), np.float32)


def literal_vector(features: np.ndarray, tau: float) -> np.ndarray:
    """Write the eigenproblem out, and solve it densely."""
    affinity = np.where(features @ features.T > tau, 1.0, EPSILON)
    degrees = np.diag(affinity.sum(axis=1))
    vector = scipy.linalg.eigh(degrees - affinity, degrees, subset_by_index=[1, 1])[1][:, 0]
    return np.asarray(vector * np.sign(vector[np.abs(vector).argmax()]) / np.linalg.norm(vector))


def literal_mask(vector: np.ndarray) -> np.ndarray:
    """Walk from the seed over the foreground, patch by patch."""
    rows, cols = vector.shape
    flat = vector.reshape(-1)
    foreground = {i for i in range(rows * cols) if flat[i] > flat.mean()}
    corners = [0, cols - 1, (rows - 1) * cols, rows * cols - 1]
    reverse = (
        sum(corner in foreground for corner in corners) >= 3 or int(np.abs(flat).argmax()) not in foreground
    )
    if reverse:
        foreground = set(range(rows * cols)) - foreground
    mask, edge = np.zeros((rows, cols), bool), [int((-flat if reverse else flat).argmax())]
    while edge:
        row, col = divmod(edge.pop(), cols)
        if 0 <= row < rows and 0 <= col < cols and row * cols + col in foreground and not mask[row, col]:
            mask[row, col] = True
            edge += [r * cols + c for r, c in ((row - 1, col), (row + 1, col)) if 0 <= r < rows]
            edge += [r * cols + c for r, c in ((row, col - 1), (row, col + 1)) if 0 <= c < cols]
    return mask


def literal_maskcut(tokens: np.ndarray, tau: float, count: int) -> list[np.ndarray]:
    """Follow the published loop, word by word."""
    features = unit(tokens).copy()
    found: list[np.ndarray] = []
    for index in range(count):
        vector = literal_vector(features.reshape(-1, features.shape[-1]), tau)
        mask = literal_mask(vector.reshape(tokens.shape[:2]))
        if index > 0:
            both, either = (mask & found[-1]).sum(), (mask | found[-1]).sum()
            if both / either > 0.5 or mask.sum() / mask.size <= 0.01:
                mask = np.zeros_like(mask)
        features[mask] = 0
        found.append(mask)
    return [mask & ~np.any(found[:index], axis=0) if index else mask for index, mask in enumerate(found)]


def disc(rows: int, cols: int, row: int, col: int, radius: float) -> np.ndarray:
    down, right = np.mgrid[:rows, :cols]
    return np.asarray((down - row) ** 2 + (right - col) ** 2 <= radius**2)


@pytest.mark.parametrize("grid", [(8, 8), (12, 17), (30, 21)])
def test_two_flat_regions_are_cut_in_two(grid: tuple[int, int]) -> None:
    """Small grids are solved densely, large ones by Lanczos."""
    blob = disc(*grid, grid[0] // 2, grid[1] // 3, 2.5)
    first, *rest = maskcut(regions(blob.astype(int)))
    np.testing.assert_array_equal(first, blob)
    assert not any((mask & blob).any() for mask in rest)


def test_three_blobs_are_found_in_three_cuts() -> None:
    blobs = [disc(24, 30, *place) for place in ((6, 6, 4), (16, 12, 3.5), (9, 23, 3))]
    labels = sum(index * blob for index, blob in enumerate(blobs, start=1))
    found = maskcut(regions(np.asarray(labels)))
    assert {mask.tobytes() for mask in found} == {blob.tobytes() for blob in blobs}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("grid", [(5, 7), (9, 9), (11, 6), (15, 12)])
@pytest.mark.parametrize("tau", [0.05, 0.15, 0.3])
def test_masks_are_those_of_the_equations_written_out(grid: tuple[int, int], tau: float, seed: int) -> None:
    tokens = smooth(seed, *grid)
    for ours, literal in zip(maskcut(tokens, tau=tau), literal_maskcut(tokens, tau, 3), strict=True):
        np.testing.assert_array_equal(ours, literal)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("patches", [40, 65, 300])
def test_eigenvector_is_that_of_the_equation_written_out(patches: int, seed: int) -> None:
    features = unit(np.random.default_rng(seed).normal(0, 1, (patches, 6)).astype(np.float32))
    features[: patches // 5] = 0  # taken out by an earlier cut
    vector, literal = second_eigenvector(features, 0.15), literal_vector(features, 0.15)
    np.testing.assert_allclose(vector, literal, atol=1e-5)
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector[np.abs(vector).argmax()] > 0


def test_a_mask_has_no_say_in_patches_it_is_not_tied_to() -> None:
    """Only the part that holds the seed stays, and a diagonal ties nothing."""
    vector = np.full((6, 6), -1.0)
    vector[1, 1], vector[2, 2], vector[4, 1:5] = 3, 2, 2
    expected = np.zeros((6, 6), bool)
    expected[1, 1] = True
    np.testing.assert_array_equal(mask_of(vector), expected)


@pytest.mark.parametrize(("corners", "reversed_"), [(2, False), (3, True), (4, True)])
def test_a_foreground_with_three_corners_is_the_background(corners: int, reversed_: bool) -> None:
    vector = np.full((7, 7), -1.0)
    vector[3, 0:7] = 3  # joins the columns below
    vector[:, [0, 6]] = 3
    for row, col in [(0, 0), (0, 6), (6, 0), (6, 6)][: 4 - corners]:
        vector[row, col] = -1
    foreground = vector > vector.mean()
    mask = mask_of(vector)
    assert not (mask & foreground).any() if reversed_ else (mask == foreground).all()


def test_the_patch_of_largest_magnitude_is_in_the_mask() -> None:
    """A vector with its canonical sign turned over: what lies below the mean is then kept."""
    vector = np.zeros((5, 5))
    vector[2, 2] = 1
    expected = vector > 0
    np.testing.assert_array_equal(mask_of(vector), expected)
    np.testing.assert_array_equal(mask_of(-vector), expected)


def scripted(monkeypatch: pytest.MonkeyPatch, masks: list[np.ndarray]) -> list[np.ndarray]:
    """Let cuts give these masks, one after the other; collect the features that each was given."""
    seen: list[np.ndarray] = []

    def cut(features: np.ndarray, tau: float) -> module.Cut:
        seen.append(features)
        return module.Cut(np.zeros(features.shape[:2]), masks[len(seen) - 1])

    monkeypatch.setattr(module, "normalised_cut", cut)
    return seen


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((10, 20), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_cut_over_the_one_before_is_rejected_and_takes_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is taken by an empty mask; so the same cut is accepted in the next round."""
    first, over, third = box(0, 0, 4, 9), box(0, 0, 4, 5), box(6, 0, 9, 9)
    seen = scripted(monkeypatch, [first, over, third])
    masks = [cut.mask for cut in cuts(np.ones((10, 20, 2), np.float32), count=4)]
    for mask, expected in zip(masks, [first, np.zeros_like(first), over, third], strict=True):
        np.testing.assert_array_equal(mask, expected)  # IoU of the first two is 5/9
    assert [int(features.any(axis=-1).sum()) for features in seen] == [200, 164, 164]
    assert not seen[1][first].any()


def test_half_an_overlap_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [box(0, 0, 2, 4), box(0, 0, 2, 2)])
    assert [cut.mask.sum() for cut in cuts(np.ones((10, 20, 2), np.float32), count=2)] == [8, 4]


def test_a_later_cut_of_one_per_cent_is_rejected_but_never_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.ones((10, 20, 2), np.float32)
    scripted(monkeypatch, [box(0, 0, 1, 2), box(5, 5, 6, 8), box(8, 8, 9, 10)])  # 2, 3 and 2 of 200 patches
    assert [int(mask.sum()) for mask in maskcut(tokens)] == [2, 3, 0]


def test_earlier_masks_are_subtracted(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [box(0, 0, 4, 6), box(0, 4, 4, 10)])
    first, second = maskcut(np.ones((10, 20, 2), np.float32), count=2)
    np.testing.assert_array_equal(first, box(0, 0, 4, 6))
    np.testing.assert_array_equal(second, box(0, 6, 4, 10))


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_disjoint(seed: int) -> None:
    masks = maskcut(smooth(seed, 20, 16), count=5)
    assert np.sum(masks, axis=0).max() == 1


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 9), (8, 8), (9, 9)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_image_is_one_mask_and_nothing_else(grid: tuple[int, int], value: float) -> None:
    first, *rest = maskcut(np.full((*grid, 4), value, np.float32))
    assert first.all()
    assert not np.any(rest)


@pytest.mark.parametrize("grid", [(1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (1, 100), (2, 50)])
def test_tiny_and_thin_grids_are_cut(grid: tuple[int, int]) -> None:
    """The first patch differs from the others; with two it is the first of equals."""
    labels = np.ones(grid, int)
    labels[0, 0] = 0
    np.testing.assert_array_equal(maskcut(regions(labels))[0], labels == 0)


def test_equal_sides_are_told_apart_by_the_first_patch() -> None:
    labels = np.zeros((10, 10), int)
    labels[:, 5:] = 1
    np.testing.assert_array_equal(maskcut(regions(labels))[0], labels == 0)


@pytest.mark.parametrize("tau", [-1.5, -1.0, 0.0, 0.999, 1.0, 2.0])
@pytest.mark.parametrize("grid", [(3, 3), (10, 12)])
def test_any_tau_gives_masks(grid: tuple[int, int], tau: float) -> None:
    """At the ends all patches are tied, or none is."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masks = maskcut(smooth(0, *grid), tau=tau)
    assert len(masks) == 3
    assert masks[0].any()


@pytest.mark.parametrize("parts", [2, 5, 20, 100])
def test_many_parts_without_ties_between_them_are_cut(parts: int) -> None:
    """Up to a hundred patches, each alike to itself only: the eigenvalue is manifold."""
    labels = np.random.default_rng(0).permutation(np.arange(100) % parts).reshape(10, 10)
    tokens = regions(labels)
    one, two = (second_eigenvector(tokens.reshape(100, -1), 0.15) for _ in range(2))
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, two)
    assert maskcut(tokens)[0].any()


def test_patches_without_a_token_do_no_harm() -> None:
    tokens = smooth(1, 12, 12)
    tokens[3:6, 4:8] = 0
    for ours, literal in zip(maskcut(tokens), literal_maskcut(tokens, 0.15, 3), strict=True):
        np.testing.assert_array_equal(ours, literal)


def test_twice_is_once_and_nothing_is_written() -> None:
    tokens = smooth(2, 20, 20)
    before = tokens.copy()
    one, two = (list(cuts(tokens)) for _ in range(2))
    for ours, again in zip(one, two, strict=True):
        np.testing.assert_array_equal(ours.vector, again.vector)
        np.testing.assert_array_equal(ours.mask, again.mask)
    np.testing.assert_array_equal(tokens, before)


def test_length_of_tokens_does_not_matter() -> None:
    tokens = smooth(3, 14, 14)
    lengths = np.random.default_rng(0).uniform(0.01, 100, (14, 14, 1)).astype(np.float32)
    for one, other in zip(maskcut(tokens), maskcut(tokens * lengths), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mirrored_grid_gives_mirrored_masks() -> None:
    tokens = smooth(4, 15, 22)
    for one, other in zip(maskcut(tokens), maskcut(tokens[:, ::-1]), strict=True):
        np.testing.assert_array_equal(one, other[:, ::-1])


def test_without_convergence_the_matrix_is_diagonalised(monkeypatch: pytest.MonkeyPatch) -> None:
    features = unit(smooth(5, 12, 12)).reshape(144, -1)
    expected = second_eigenvector(features, 0.15)
    monkeypatch.setattr(module, "KRYLOV", 2)
    monkeypatch.setattr(module, "RESTARTS", 1)
    np.testing.assert_allclose(second_eigenvector(features, 0.15), expected, atol=1e-5)
    monkeypatch.setattr(module, "TOLERANCE", 1e-30)
    np.testing.assert_allclose(second_eigenvector(features, 0.15), expected, atol=1e-5)


def test_a_cut_is_its_vector_and_the_mask_cut_by_it() -> None:
    cut = normalised_cut(unit(smooth(6, 10, 13)), 0.15)
    assert cut.vector.shape == (10, 13)
    np.testing.assert_array_equal(cut.mask, mask_of(cut.vector))
    assert cut.mask.flat[np.abs(cut.vector).argmax()]


def test_ncut_is_its_definition() -> None:
    tokens, mask = smooth(7, 6, 8), disc(6, 8, 2, 3, 1.5)
    features, inside = unit(tokens).reshape(48, -1), mask.reshape(-1)
    cut = within = without = 0.0
    for i in range(48):
        for j in range(48):
            weight = 1.0 if features[i] @ features[j] > 0.15 else EPSILON
            cut += weight * (inside[i] and not inside[j])
            within += weight * inside[i]
            without += weight * (not inside[i])
    assert ncut(mask, tokens, 0.15) == pytest.approx(cut / within + cut / without)
    assert ncut(~mask, tokens, 0.15) == pytest.approx(cut / within + cut / without)


def test_ncut_of_what_is_known() -> None:
    mask = disc(9, 9, 4, 4, 2.5)
    assert ncut(mask, regions(mask.astype(int)), 0.15) == pytest.approx(0, abs=1e-4)
    assert ncut(mask, np.ones((9, 9, 3), np.float32), 0.15) == pytest.approx(1)
    assert ncut(np.ones((9, 9), bool), regions(mask.astype(int)), 0.15) == 1
    assert ncut(np.zeros((9, 9), bool), regions(mask.astype(int)), 0.15) == 1


@pytest.mark.parametrize(("times", "share"), [(1, 0.5), (3, 0.75), (1 / 9, 0.1), (1e300, 1), (1e-300, 0)])
def test_objectness_of_a_part_without_ties_is_its_share_of_attention(times: float, share: float) -> None:
    mask = disc(9, 9, 4, 4, 2.5)
    attention = np.where(mask, np.log(times), 0.0)
    score = objectness(mask, regions(mask.astype(int)), attention, 0.15)
    assert score == pytest.approx(share, abs=1e-3)


def test_attention_and_parting_both_count() -> None:
    blob = disc(12, 12, 5, 6, 3)
    tokens, attention = regions(blob.astype(int)), np.where(blob, 2.0, 0.0)
    whole = objectness(blob, tokens, attention, 0.15)
    half = blob & (np.arange(12) < 6)
    assert whole > 0.85
    assert objectness(half, tokens, attention, 0.15) < 0.7 * whole  # the other half is torn off
    assert objectness(blob, tokens, -attention, 0.15) < 0.2 * whole
    assert objectness(blob, tokens, attention - 7, 0.15) == pytest.approx(whole)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_of_a_constant_image_is_an_object(value: float) -> None:
    tokens, attention = np.full((9, 9, 4), value, np.float32), smooth(8, 9, 9, d=1)[..., 0]
    assert objectness(disc(9, 9, 4, 4, 2), tokens, attention, 0.15) == pytest.approx(0, abs=1e-6)
    assert [objectness(mask, tokens, attention, 0.15) for mask in maskcut(tokens)] == [0, 0, 0]
