"""Clusters against true parts: by hand, and by scikit-learn, which takes one sample at a time."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from cratecli.emergence.clusters import contingency, mutual_information, part_iou, rand_index


def tables(*one: list[list[int]]) -> np.ndarray:
    return np.array(one, np.float64)


def test_pixels_are_counted_by_both_labels() -> None:
    found = np.array([[0, 0, 2], [2, 2, 1]], np.uint8)
    true = np.array([[0, 1, 1], [1, 3, 0]], np.uint8)
    assert contingency(found, true).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 2, 0, 1]]


def test_labels_that_agree_but_for_their_names() -> None:
    table = tables([[0, 5, 0], [3, 0, 0], [0, 0, 4]])
    assert mutual_information(table) == pytest.approx([1])
    assert rand_index(table) == pytest.approx([1])


def test_labels_that_know_nothing_of_each_other() -> None:
    """Of six pairs two are together here, two there, none in both: (0 − 4/6) / (2 − 4/6) = −1/2."""
    table = tables([[1, 1], [1, 1]])
    assert mutual_information(table) == pytest.approx([0], abs=1e-12)
    assert rand_index(table) == pytest.approx([-0.5])


@pytest.mark.parametrize("table", [[[7]], [[0, 0], [0, 7]]])
def test_one_label_on_both_sides_agrees(table: list[list[int]]) -> None:
    assert mutual_information(tables(table)) == pytest.approx([1])
    assert rand_index(tables(table)) == pytest.approx([1])


def test_many_samples_at_once_are_scikit_learns_one_by_one() -> None:
    random = np.random.default_rng(0)
    pairs = []
    for _ in range(5):
        true = random.integers(0, 5, 400)
        found = np.where(random.random(400) < 0.5, true % 3, random.integers(0, 3, 400))
        pairs.append((true, found))
    many = np.stack(
        [contingency(found[None].astype(np.uint8), true[None].astype(np.uint8)) for true, found in pairs]
    ).astype(np.float64)
    assert mutual_information(many) == pytest.approx([normalized_mutual_info_score(*pair) for pair in pairs])
    assert rand_index(many) == pytest.approx([adjusted_rand_score(*pair) for pair in pairs])


def test_parts_are_matched_for_the_largest_sum() -> None:
    """IoU is 6/10 and 2/8 for cluster 1, 2/8 and 0 for cluster 2: 6/10 + 0 beats 2/8 + 2/8."""
    assert part_iou(tables([[10, 0, 0], [0, 6, 2], [0, 2, 0]])) == pytest.approx([0.6 / 2])


def test_ground_counts_in_unions_only() -> None:
    """Cluster 1 covers its part of 4 and 4 of the ground: 4 / 8; ground that meets ground is no part."""
    assert part_iou(tables([[90, 0], [4, 4]])) == pytest.approx([0.5])


def test_a_part_without_a_cluster_counts_nothing_and_one_that_is_not_there_not_at_all() -> None:
    assert part_iou(tables([[5, 0, 2], [0, 3, 0]])) == pytest.approx([1 / 2])
    assert part_iou(tables([[5, 0, 0], [0, 3, 0]])) == pytest.approx([1])
    assert part_iou(tables([[5, 2], [0, 0]])) == pytest.approx([0])
    assert np.isnan(part_iou(tables([[5, 0], [1, 0]]))).all()
