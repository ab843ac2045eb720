"""Parts that photos share, on tokens whose parts are known: in any order, from a sample, by name and by colour."""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import pytest
import sklearn.cluster  # noqa: F401 - its threads can be held back once they are there
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cratecli.emergence import parts_learner as module
from cratecli.emergence.features import View
from cratecli.emergence.masks import scale
from cratecli.emergence.parts import (
    BLUR,
    Ground,
    Vocabulary,
    centred,
    describe,
    figure_of,
    in_order,
    margins_alone,
    paint,
    rename,
    soft_figure,
)
from cratecli.emergence.parts_learner import DIMENSIONS, MOST, VocabularyLearner, choose_k
from cratecli.emergence.pca import Components, principal_components
from cratecli.emergence.rules import Foreground
from cratecli.geometry import Size
from tests.support.views import blob, view


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep k-means from waiting for threads that its few points do not need."""
    with threadpool_limits(1):
        yield


WIDTH = 24
GROUND, HEAD, BODY, LEGS = range(4)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@dataclass(frozen=True, eq=False)
class Made:
    """A photo that was made up: what its tokens are of, 0 the ground, and a number as its pixels would give."""

    truth: np.ndarray
    tokens: np.ndarray
    attention: np.ndarray
    content: int


def made(content: int, kinds: Sequence[int] = (GROUND, HEAD, BODY, LEGS), grain: float = 0.02) -> Made:
    """Make a photo of 8 rows and 10 columns: a ground, on which 15 patches a part lie as chance will have it.

    Figure and ground differ most, along the first axis; parts along three others. Each photo has a light of its own.
    """
    random = np.random.default_rng(content)
    truth: np.ndarray = np.full(80, GROUND)
    truth[: 15 * (len(kinds) - 1)] = np.repeat(kinds[1:], 15)
    truth = np.asarray(random.permutation(truth).reshape(8, 10))
    means = np.diag([0.0, 1, 2, 3]) @ np.eye(4, WIDTH)
    means[1:, 0] = 8
    tokens = means[truth] + random.normal(0, grain, (8, 10, WIDTH)) + random.normal(0, 3, WIDTH)
    attention = np.where(truth > 0, 1.5, 0.5) + random.normal(0, 0.1, truth.shape)
    return Made(truth, tokens, attention, content)


PHOTOS = [made(content) for content in range(5)]


def learned(
    photos: Iterable[Made],
    k: int | str = 3,
    rule: Foreground = "pca",
    again: Iterable[Made] | None = None,
    seed: int = 0,
) -> Vocabulary:
    """Learn from photos; the second reading may be in another order."""
    photos = list(photos)
    learner = VocabularyLearner(rule, WIDTH)
    for photo in photos:
        learner.read(photo.tokens, photo.attention, photo.content)
    ground = learner.ground()
    for photo in photos if again is None else again:
        inside = ground.margins(photo.tokens, photo.attention - 1) > 0
        learner.read_inside(photo.tokens, inside, photo.content)
    return learner.learn(ground, "auto" if k == "auto" else int(k), seed)


def label(words: Vocabulary, photo: Made) -> np.ndarray:
    """Label patches, 0 the ground and else a part's colour."""
    margins = words.ground.margins(photo.tokens, photo.attention - 1)
    nearness = words.nearness(words.coordinates(photo.tokens, margins > 0))
    return np.where(margins > 0, np.array(words.colours)[nearness.argmax(axis=0)], 0)


def partner(labels: np.ndarray, truth: np.ndarray) -> dict[int, int]:
    """Pair each label with what it stands for; fail if it stands for two things, or two labels for one."""
    pairs = set(zip(labels.reshape(-1).tolist(), truth.reshape(-1).tolist(), strict=True))
    assert len(pairs) == len({label for label, _ in pairs}) == len({kind for _, kind in pairs})
    return dict(pairs)


# The descriptor.


def blurred(flat: np.ndarray) -> np.ndarray:
    """Blur by the formula, patch by patch; what is beyond the edge is as the edge is."""
    offsets = np.arange(-4, 5)
    weights = np.exp(-(offsets**2) / (2 * BLUR**2))
    weights /= weights.sum()
    rows, cols, _ = flat.shape
    found = np.zeros(flat.shape)
    for row in range(rows):
        for col in range(cols):
            for down, first in zip(offsets, weights, strict=True):
                for across, second in zip(offsets, weights, strict=True):
                    at = np.clip(row + down, 0, rows - 1), np.clip(col + across, 0, cols - 1)
                    found[row, col] += first * second * flat[at]
    return found


@pytest.mark.parametrize(("layers", "rows", "cols", "width"), [(1, 6, 5, 4), (2, 3, 7, 9), (3, 1, 1, 3)])
def test_a_descriptor_is_the_formula(layers: int, rows: int, cols: int, width: int) -> None:
    tokens = noise(layers, rows, cols, width).astype(np.float32) * 5
    zeros = np.zeros(layers, np.float32)
    seen = View(np.ones((layers, 1, rows, cols), np.float32), tokens, zeros, zeros)
    unit = [layer / np.linalg.norm(layer, axis=-1, keepdims=True) for layer in tokens]
    expected = blurred(np.concatenate(unit, axis=-1))
    found = describe(seen)
    assert found.shape == (rows, cols, layers * width)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(describe(replace(seen, tokens=100 * tokens)), expected, atol=1e-5)


def test_a_token_of_zeros_gives_no_nan() -> None:
    zeros = np.zeros(1, np.float32)
    seen = View(np.ones((1, 1, 2, 2), np.float32), np.zeros((1, 2, 2, 6), np.float32), zeros, zeros)
    assert not describe(seen).any()


def test_each_photo_loses_its_own_mean() -> None:
    tokens = noise(4, 5, 3) + 7
    inside = np.zeros((4, 5), bool)
    np.testing.assert_allclose(centred(tokens).mean(axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(centred(tokens, inside), centred(tokens))  # no foreground: all of it
    inside[1:3, 2] = True
    expected = tokens - (tokens[1, 2] + tokens[2, 2]) / 2
    np.testing.assert_allclose(centred(tokens, inside), expected)
    np.testing.assert_allclose(centred(tokens + 100, inside), expected)  # a photo's light tells nothing


# Figure and ground.


def otsu(values: np.ndarray) -> np.ndarray:
    """Part values in two, so that the variance between the parts is largest, on 256 levels; True is above."""
    levels = np.round(scale(values) * 255)
    cuts = np.arange(int(levels.max())) + 0.5
    between = [
        np.mean(levels > cut)
        * np.mean(levels < cut)
        * (levels[levels > cut].mean() - levels[levels < cut].mean()) ** 2
        for cut in cuts
    ]
    return np.asarray(levels > cuts[np.argmax(between)])


@pytest.mark.parametrize("turned", [1, -1])
@pytest.mark.parametrize("brighter", [1, -1])
def test_figure_is_where_attention_is(turned: int, brighter: int) -> None:
    """Whatever the sign of the component, and on whichever side attention lies."""
    learner = VocabularyLearner("pca", WIDTH)
    for photo in PHOTOS:
        learner.read(turned * photo.tokens, 2 + brighter * photo.attention, photo.content)
    ground = learner.ground()
    assert ground.rule == "pca"
    for photo in PHOTOS:
        inside = ground.margins(turned * photo.tokens, np.zeros((0, 0))) > 0
        np.testing.assert_array_equal(inside, (photo.truth > 0) if brighter > 0 else (photo.truth == 0))


def test_the_cut_is_otsus_over_all_photos() -> None:
    photos = [made(content, grain=0.5) for content in range(6)]
    learner = VocabularyLearner("pca", WIDTH)
    for photo in photos:
        learner.read(photo.tokens, photo.attention, photo.content)
    ground = learner.ground()
    tokens = np.concatenate([centred(photo.tokens).reshape(-1, WIDTH) for photo in photos])
    everything = principal_components(tokens, 4)
    np.testing.assert_allclose(ground.everything.directions, everything.directions, atol=1e-6)
    first = everything.project(tokens)[:, 0]
    above = otsu(first)
    attention = np.concatenate([photo.attention.reshape(-1) for photo in photos])
    side = 1 if attention[above].mean() > attention[~above].mean() else -1
    margins = np.concatenate([ground.margins(p.tokens, np.zeros((0, 0))).reshape(-1) for p in photos])
    np.testing.assert_array_equal(margins > 0, above if side > 0 else ~above)
    assert ground.side == side
    np.testing.assert_allclose(margins, side * first - ground.cut, atol=1e-6)
    assert 0.5 < np.mean(margins > 0) < 0.6


def test_other_rules() -> None:
    photo = PHOTOS[0]
    saliency = noise(8, 10)
    for rule, expected in (("attention", saliency), ("none", np.ones((8, 10)))):
        learner = VocabularyLearner(rule, WIDTH)  # type: ignore[arg-type]
        learner.read(photo.tokens, photo.attention, photo.content)
        ground = learner.ground()
        assert ground.rule == rule
        np.testing.assert_array_equal(ground.margins(photo.tokens, saliency), expected)


@pytest.mark.parametrize("rule", ["pca", "attention", "none"])
def test_where_all_tokens_are_alike_all_is_figure(rule: Foreground) -> None:
    """There is nothing to part by; attention may still tell."""
    learner = VocabularyLearner(rule, 6)
    for content in range(3):
        learner.read(np.full((4, 5, 6), float(content)), np.ones((4, 5)), content)
    ground = learner.ground()
    assert ground.rule == ("attention" if rule == "attention" else "none")
    assert np.isfinite(ground.cut)
    assert np.isfinite(ground.everything.directions).all()
    assert (ground.margins(np.ones((4, 5, 6)), np.ones((4, 5))) > 0).all()


def test_no_photo_has_no_ground() -> None:
    with pytest.raises(ValueError, match="no tokens have no principal components"):
        VocabularyLearner("pca", 6).ground()


def test_the_heads_say_what_is_figure() -> None:
    truth = blob(6, 11)
    found = figure_of([view(truth, 0), view(truth, 100)])
    assert found.shape == truth.shape
    np.testing.assert_array_equal(found > 0, otsu_of_heads(truth))


def otsu_of_heads(truth: np.ndarray) -> np.ndarray:
    from cratecli.emergence.heads import agree

    return otsu(agree([view(truth, 0), view(truth, 100)]).log_attention)


@pytest.mark.parametrize(
    ("margins", "soft", "cut"),
    [
        ([[-1.0, 0.0, 3.0]], [[0.0, 0.25, 1.0]], 0.25),
        ([[1.0, 2.0]], [[0.5, 1.0]], 0.0),  # all figure
        ([[-1.0, -4.0]], [[0.75, 0.0]], 1.0),  # all ground
        ([[0.0, 0.0]], [[0.0, 0.0]], 0.0),
    ],
)
def test_margins_as_a_map(margins: list[list[float]], soft: list[list[float]], cut: float) -> None:
    found, at = soft_figure(np.array(margins))
    np.testing.assert_allclose(found, soft)
    assert at == pytest.approx(cut)
    np.testing.assert_array_equal(found > at, np.array(margins) > 0)


# Parts.


def test_three_clusters_are_three_parts() -> None:
    """In five photos, each with a light of its own, not a patch goes wrong; nor in one that was not learned from."""
    words = learned(PHOTOS)
    assert (words.names, words.colours) == (("part 1", "part 2", "part 3"), (1, 2, 3))
    assert words.centroids.shape == (3, DIMENSIONS)
    assert (np.diff(words.centroids[:, 0]) > 0).all()
    pairs = partner(label(words, PHOTOS[0]), PHOTOS[0].truth)
    assert len(pairs) == 4
    assert pairs[0] == GROUND
    for photo in [*PHOTOS, made(99)]:
        assert partner(label(words, photo), photo.truth) == pairs


@pytest.mark.parametrize("rule", ["attention", "none"])
def test_parts_of_another_foreground(rule: Foreground) -> None:
    """By attention, as by the component; with no ground, the ground is a part."""
    words = learned(PHOTOS, k=3 if rule == "attention" else 4, rule=rule)
    for photo in PHOTOS:
        assert len(partner(label(words, photo), photo.truth)) == 4
        assert (label(words, photo) > 0).all() == (rule == "none")


def test_centroids_are_the_parts_means() -> None:
    words = learned(PHOTOS)
    pairs = partner(label(words, PHOTOS[0]), PHOTOS[0].truth)
    points = np.concatenate(
        [words.coordinates(p.tokens, p.truth > 0).reshape(-1, DIMENSIONS) for p in PHOTOS]
    )
    truth = np.concatenate([photo.truth.reshape(-1) for photo in PHOTOS])
    for colour, centroid in zip(words.colours, words.centroids, strict=True):
        np.testing.assert_allclose(centroid, points[truth == pairs[colour]].mean(axis=0), atol=1e-9)


def bits(words: Vocabulary) -> list[object]:
    """Give all that a vocabulary holds, to the bit."""
    ground, inside = words.ground, words.inside
    arrays = [
        *vars(ground.everything).values(),
        *vars(inside).values(),
        words.centroids,
        words.low,
        words.high,
    ]
    told = [ground.rule, ground.side, ground.cut.hex(), words.names, words.colours]
    return [*told, *(each.tobytes() for each in arrays)]


def dealt_out(photos: Sequence[Made], hands: Sequence[int], rule: Foreground) -> Vocabulary:
    """Learn as several machines would: photo by photo it is said whose it is; they tell all when they are done.

    What they tell is copied, as it is from process to process.
    """

    def told(readers: Sequence[VocabularyLearner]) -> VocabularyLearner:
        together: VocabularyLearner
        together, *others = pickle.loads(pickle.dumps(readers))
        for other in others:
            together.merge(other)
        return together

    readers = [VocabularyLearner(rule, WIDTH) for _ in range(max(hands) + 1)]
    for photo, hand in zip(photos, hands, strict=True):
        readers[hand].read(photo.tokens, photo.attention, photo.content)
        alone = margins_alone(rule, photo.truth.shape, photo.attention - 1)
        if alone is not None:
            readers[hand].read_inside(photo.tokens, alone > 0, photo.content)
    ground = told(readers).ground()
    if rule == "pca":
        for photo, hand in zip(photos, hands, strict=True):
            inside = ground.margins(photo.tokens, photo.attention - 1) > 0
            readers[hand].read_inside(photo.tokens, inside, photo.content)
    return told(readers).learn(ground, 3)


@pytest.mark.parametrize("rule", ["pca", "attention", "none"])
@pytest.mark.parametrize("sample", [10_000, 60])
def test_no_bit_depends_on_order_or_on_who_read_which_photo(
    monkeypatch: pytest.MonkeyPatch, sample: int, rule: Foreground
) -> None:
    """Nor where the sample holds a part of the patches only: it then is the same part. One photo comes twice."""
    monkeypatch.setattr(module, "SAMPLE", sample)
    photos = [made(content, grain=0.3) for content in (*range(7), 3)]
    expected = bits(learned(photos, rule=rule))
    assert bits(learned(photos[:7], rule=rule)) != expected
    for seed in range(6):
        random = np.random.default_rng(seed)
        order = random.permutation(len(photos))
        shuffled = [photos[index] for index in order]
        assert bits(learned(shuffled, again=photos[::-1], rule=rule)) == expected
        hands = random.integers(0, seed + 1, len(photos)).tolist()
        assert bits(dealt_out(shuffled, hands, rule)) == expected


def test_threads_change_no_bit() -> None:
    photos = [made(content, grain=0.3) for content in range(9)]
    found = []
    for threads in (1, 2, 5):
        with threadpool_limits(threads):
            found.append(bits(learned(photos)))
    assert found[0] == found[1] == found[2]


def test_descriptors_as_they_come() -> None:
    """They are float32, and of unit length."""
    photos = [
        replace(
            photo, tokens=(photo.tokens / np.linalg.norm(photo.tokens, axis=2, keepdims=True)).astype("f4")
        )
        for photo in PHOTOS
    ]
    assert bits(dealt_out(photos, [0, 1, 0, 2, 1], "pca")) == bits(learned(photos[::-1]))


def test_a_sample_tells_the_parts_that_all_patches_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = learned(PHOTOS)
    monkeypatch.setattr(module, "SAMPLE", 40)
    words = learned(PHOTOS)
    assert not np.array_equal(words.centroids, expected.centroids)
    for photo in PHOTOS:
        figure = photo.truth > 0
        np.testing.assert_array_equal(label(words, photo)[figure], label(expected, photo)[figure])


def test_copies_of_all_photos_change_nothing() -> None:
    expected, words = learned(PHOTOS), learned([*PHOTOS, *PHOTOS])
    np.testing.assert_allclose(words.centroids, expected.centroids, atol=1e-9)
    for photo in PHOTOS:
        np.testing.assert_array_equal(label(words, photo), label(expected, photo))


def test_seeds_find_the_same_clusters() -> None:
    for seed in (1, 2, 2**32 - 1):
        np.testing.assert_allclose(learned(PHOTOS, seed=seed).centroids, learned(PHOTOS).centroids, atol=1e-9)


def test_nothing_is_written_into_the_tokens() -> None:
    photo = made(0)
    before = photo.tokens.copy(), photo.attention.copy()
    label(learned([photo]), photo)
    np.testing.assert_array_equal(photo.tokens, before[0])
    np.testing.assert_array_equal(photo.attention, before[1])


def inside_of(tokens: np.ndarray) -> VocabularyLearner:
    """Read patches that all are foreground."""
    learner = VocabularyLearner("none", tokens.shape[1])
    learner.read(tokens[None], np.ones((1, len(tokens))), 0)
    learner.read_inside(tokens[None], np.ones((1, len(tokens)), bool), 0)
    return learner


def test_too_little_foreground_has_no_parts() -> None:
    for tokens in (noise(4, WIDTH), np.tile(noise(4, WIDTH), (20, 1))):
        learner = inside_of(tokens)
        with pytest.raises(ValueError, match="4 different patches of foreground are too few for 5 parts"):
            learner.learn(learner.ground(), 5)
        assert len(learner.learn(learner.ground(), 4).centroids) == 4
        assert len(learner.learn(learner.ground(), "auto").centroids) <= 4
    learner = inside_of(np.ones((30, WIDTH)))
    assert len(learner.learn(learner.ground(), "auto").centroids) == 1
    learner = VocabularyLearner("none", WIDTH)
    learner.read(noise(1, 3, WIDTH), np.ones((1, 3)), 0)
    learner.read_inside(noise(1, 3, WIDTH), np.zeros((1, 3), bool), 0)
    for k in (1, "auto"):
        with pytest.raises(ValueError, match="there is no foreground to learn parts from"):
            learner.learn(learner.ground(), k)


def test_as_many_parts_as_patches() -> None:
    tokens = noise(5, WIDTH)
    learner = inside_of(tokens)
    words = learner.learn(learner.ground(), 5)
    nearness = words.nearness(words.coordinates(tokens[None], np.ones((1, 5), bool)))
    assert sorted(nearness.argmax(axis=0)[0].tolist()) == [0, 1, 2, 3, 4]


def test_one_part() -> None:
    words = learned(PHOTOS, k=1)
    np.testing.assert_allclose(words.centroids, 0, atol=1e-6)  # each photo's foreground is centred
    for photo in PHOTOS:
        np.testing.assert_array_equal(label(words, photo), photo.truth > 0)


def test_auto_finds_the_three_clusters() -> None:
    words = learned(PHOTOS, k="auto")
    np.testing.assert_allclose(words.centroids, learned(PHOTOS, k=3).centroids, atol=1e-9)


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_as_many_parts_as_clusters(count: int, seed: int) -> None:
    """Clusters as far apart as 30 times their spread, in all the dimensions that k-means sees."""
    corners = 20 * np.eye(count, DIMENSIONS)
    points = np.concatenate(
        [corner + noise(60, DIMENSIONS, seed=seed + 10 * i) for i, corner in enumerate(corners)]
    )
    assert choose_k(points) == count
    assert choose_k(points, seed=7) == count


def test_no_clusters_are_at_most_ten_parts() -> None:
    assert 1 <= choose_k(np.random.default_rng(0).random((300, 2))) <= MOST
    assert choose_k(np.random.default_rng(0).random((MOST, 2))) <= MOST


@pytest.mark.parametrize(
    ("points", "count"),
    [
        (np.zeros((50, 5)), 1),
        (np.full((50, 5), 3.0), 1),
        (np.repeat(np.eye(3, 5), 20, axis=0), 3),
    ],
    ids=["zeros", "alike", "three"],
)
def test_no_more_parts_than_points_that_differ(points: np.ndarray, count: int) -> None:
    assert choose_k(points) == count


# Coordinates, nearness, colours.


def words_of(
    centroids: np.ndarray, *, width: int = 8, names: Sequence[str] = (), colours: Sequence[int] = ()
) -> Vocabulary:
    """Make a vocabulary of parts at `centroids`, whose components are the axes."""
    k, c = centroids.shape
    axes = Components(np.zeros(width), np.eye(c, width), np.ones(c))
    return Vocabulary(
        ground=Ground("none", axes, 1.0, 0.0),
        inside=axes,
        centroids=centroids,
        low=np.full(3, -1.0),
        high=np.full(3, 1.0),
        names=tuple(names) or tuple(f"part {number}" for number in range(1, k + 1)),
        colours=tuple(colours) or tuple(range(1, k + 1)),
    )


def test_nearness_is_the_literal_distance() -> None:
    words = words_of(noise(4, 6, seed=1))
    coordinates = noise(3, 5, 6)
    squares = np.zeros((4, 3, 5))
    for part in range(4):
        for row in range(3):
            for col in range(5):
                squares[part, row, col] = sum(
                    (coordinates[row, col, i] - words.centroids[part, i]) ** 2 for i in range(6)
                )
    nearness = words.nearness(coordinates)
    np.testing.assert_allclose(nearness, 1 - squares / squares.max())
    assert (nearness.min(), nearness.max() <= 1) == (0, True)
    np.testing.assert_array_equal(nearness.argmax(axis=0), squares.argmin(axis=0))


def test_nearness_at_the_only_centroid() -> None:
    words = words_of(np.ones((1, 4)))
    np.testing.assert_array_equal(words.nearness(np.ones((2, 3, 4))), np.ones((1, 2, 3)))


def test_coordinates_are_of_the_foreground() -> None:
    words = replace(
        words_of(np.zeros((1, 3))), inside=Components(np.full(8, 0.5), np.eye(3, 8)[::-1], np.ones(3))
    )
    tokens = noise(2, 4, 8)
    inside = np.array([[1, 1, 0, 0], [0, 1, 0, 0]], bool)
    mean = (tokens[0, 0] + tokens[0, 1] + tokens[1, 1]) / 3
    np.testing.assert_allclose(words.coordinates(tokens, inside), (tokens - mean - 0.5)[..., [2, 1, 0]])


def test_colours_are_the_first_three_coordinates() -> None:
    words = replace(words_of(np.zeros((1, 5))), low=np.array([0.0, -2, 5]), high=np.array([4.0, 2, 5]))
    coordinates = np.array([[[1, -2, 4, 9, 9], [8, 1, 6, 9, 9], [-3, 5, 5, 9, 9]]], float)
    expected = np.array(
        [[[0.25, 0, 0], [1, 0.75, 1], [0, 1, 0]]]
    )  # the last colour has no range: all or nothing
    np.testing.assert_allclose(words.colour(coordinates), expected)


def test_the_range_of_colours_leaves_outliers_out() -> None:
    words = learned(PHOTOS)
    points = np.concatenate([words.coordinates(p.tokens, p.truth > 0)[p.truth > 0] for p in PHOTOS])[:, :3]
    np.testing.assert_allclose(words.low, np.quantile(points, 0.02, axis=0), atol=1e-9)
    np.testing.assert_allclose(words.high, np.quantile(points, 0.98, axis=0), atol=1e-9)


# Names.

OLD = words_of(10 * np.eye(4, 6), names=("head", "body", "legs", "tail"), colours=(3, 1, 7, 2))


@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
def test_parts_get_their_names_and_colours_back(order: Sequence[int]) -> None:
    new = words_of(OLD.centroids[list(order)] + noise(4, 6))
    found = rename(new, OLD)
    assert found.names == tuple(OLD.names[index] for index in order)
    assert found.colours == tuple(OLD.colours[index] for index in order)
    np.testing.assert_array_equal(found.centroids, new.centroids)


def test_the_match_is_the_best_of_all() -> None:
    """Not part by part to the nearest: all distances together are least."""
    old = words_of(np.array([[0.0], [4.0]]), names=("low", "high"))
    new = words_of(np.array([[3.0], [9.0]]))
    assert rename(new, old).names == ("low", "high")
    for seed in range(10):
        old, new = words_of(noise(4, 3, seed=seed), names="abcd"), words_of(noise(4, 3, seed=seed + 50))
        squares = ((new.centroids[:, None] - old.centroids[None]) ** 2).sum(axis=2)
        best = min(permutations(range(4)), key=lambda order: sum(squares[i, j] for i, j in enumerate(order)))
        assert rename(new, old).names == tuple("abcd"[index] for index in best)


def test_more_parts_than_before_take_what_is_free() -> None:
    new = words_of(
        np.concatenate([30 + noise(1, 6), OLD.centroids[[2, 0]], -30 + noise(1, 6), OLD.centroids[[1, 3]]])
    )
    found = rename(new, OLD)
    assert found.names == ("part 4", "legs", "head", "part 5", "body", "tail")
    assert found.colours == (4, 7, 3, 5, 1, 2)


def test_fewer_parts_than_before() -> None:
    found = rename(words_of(OLD.centroids[[3, 1]] + 0.1), OLD)
    assert (found.names, found.colours) == (("tail", "body"), (2, 1))


def test_parts_are_compared_by_their_descriptors_not_their_coordinates() -> None:
    """Components differ from fit to fit, in sign and order: what they span is the same."""
    axes = np.linalg.qr(noise(8, 8))[0]
    old = replace(OLD, inside=Components(np.full(8, 0.5), axes[:6], np.ones(6)))
    turned = axes[[3, 1, 0, 2, 5, 4]] * np.array([1, -1, -1, 1, 1, -1])[:, None]
    descriptors = 0.5 + old.centroids @ axes[:6]
    new = Components(np.full(8, 0.2), turned, np.ones(6))
    found = rename(replace(words_of(new.project(descriptors[[2, 3, 0, 1]])), inside=new), old)
    assert found.names == ("legs", "tail", "head", "body")


def test_the_mean_is_part_of_the_descriptor() -> None:
    old = words_of(np.array([[0.0], [10.0]]), names=("low", "high"))
    moved = Components(10 * np.eye(8)[0], np.eye(1, 8), np.ones(1))
    assert rename(replace(words_of(np.array([[0.0]])), inside=moved), old).names == ("high",)


def test_a_vocabulary_learned_again_is_the_same() -> None:
    """From other photos, with the components and the order of parts as they come."""
    named = replace(learned(PHOTOS), names=("a", "b", "c"), colours=(9, 4, 6))
    again = rename(learned([made(content) for content in range(20, 24)]), named)
    for photo in PHOTOS:
        figure = photo.truth > 0
        np.testing.assert_array_equal(label(again, photo)[figure], label(named, photo)[figure])


def test_descriptors_of_other_width_have_no_partner() -> None:
    with pytest.raises(ValueError, match="descriptors of width 8 and 9"):
        rename(words_of(np.eye(2, 4)), words_of(np.eye(2, 4), width=9))


# Pixels.

ALL = np.ones((1, 2))


def test_pixels_are_labelled_by_the_nearest_part() -> None:
    """On a grid as fine as the photo, literally."""
    nearness, margins = np.random.default_rng(0).random((3, 6, 7)), noise(6, 7)
    labels = paint(margins, nearness, (4, 2, 9), Size(6, 7))
    assert labels.dtype == np.uint8
    for row in range(6):
        for col in range(7):
            best = (4, 2, 9)[max(range(3), key=lambda part: nearness[part, row, col])]
            assert labels[row, col] == (best if margins[row, col] > 0 else 0)


def test_nearness_is_interpolated_not_labels() -> None:
    """Pixel centres lie at −¼, ¼, ¾ and 1¼ patches; the border is where the lines cross."""
    first, second = np.array([[1.0, 0.0]]), np.array([[0.8, 0.4]])
    assert paint(ALL, np.stack([first, 1 - first]), (1, 2), Size(1, 4)).tolist() == [[1, 1, 2, 2]]
    assert paint(ALL, np.stack([first, second]), (1, 2), Size(1, 4)).tolist() == [[1, 1, 2, 2]]
    assert paint(ALL, np.stack([first, second + 0.1]), (1, 2), Size(1, 4)).tolist() == [[1, 2, 2, 2]]


def test_of_two_parts_as_near_the_first_is_taken() -> None:
    assert paint(ALL, np.ones((3, 1, 2)), (4, 2, 9), Size(2, 4)).tolist() == [[4] * 4] * 2


def test_the_outline_is_interpolated_too() -> None:
    one = np.ones((1, 1, 2))
    assert paint(np.array([[1.0, -1.0]]), one, (5,), Size(1, 4)).tolist() == [[5, 5, 0, 0]]
    assert paint(np.array([[1.0, -9.0]]), one, (5,), Size(1, 4)).tolist() == [[5, 0, 0, 0]]
    assert paint(np.array([[9.0, -1.0]]), one, (5,), Size(1, 4)).tolist() == [[5, 5, 5, 0]]


def test_a_figure_that_is_given_stands_for_the_margins() -> None:
    figure = np.array([[True, False, False, True]])
    near = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert paint(-ALL, near, (1, 2), Size(1, 4), figure=figure).tolist() == [[1, 0, 0, 2]]


def test_every_map_is_redrawn() -> None:
    """The figure's and each part's; here each is mirrored, left to right."""
    seen = []

    def mirror(grown: np.ndarray) -> np.ndarray:
        seen.append(grown)
        return np.ascontiguousarray(grown[:, ::-1])

    near = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    labels = paint(np.array([[9.0, -1.0]]), near, (1, 2), Size(1, 4), smooth=mirror)
    assert labels.tolist() == [[0, 2, 1, 1]]
    assert len(seen) == 3
    assert all(grown.shape == (1, 4) and grown.min() >= 0 and grown.max() <= 1 for grown in seen)


@pytest.mark.parametrize("margin", [-1.0, 0.0])
def test_no_figure_has_no_labels(margin: float) -> None:
    assert not paint(np.full((2, 2), margin), np.ones((1, 2, 2)), (1,), Size(5, 7)).any()


def test_parts_are_put_in_the_order_of_their_labels() -> None:
    words = words_of(noise(3, 4), names=("c", "a", "b"), colours=(9, 1, 4))
    ordered = in_order(words)
    assert (ordered.names, ordered.colours) == (("a", "b", "c"), (1, 4, 9))
    np.testing.assert_array_equal(ordered.centroids, words.centroids[[1, 2, 0]])
